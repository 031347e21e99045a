"""Torch to ONNX, float to int8."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn
from typing_extensions import override

from models.training.nets.cause import CauseNet
from models.training.nets.gate import DILATIONS, FRAMES_PER_STEP, KERNEL, STEM_CONTEXT, GateNet
from monitor.detect.classifier import SEGMENT_FRAMES
from monitor.detect.features import N_MELS

OPSET = 17
STEPS_PER_HOP = 3
HOP_FRAMES = STEPS_PER_HOP * FRAMES_PER_STEP
REACHES = tuple((KERNEL - 1) * d for d in DILATIONS)


class GateStep(nn.Module):
    """One hop of the gate with all state packed into one tensor, the form that ships."""

    def __init__(self, net: GateNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``frames`` (1, STEM_CONTEXT + HOP_FRAMES, N_MELS), ``state`` (1, width, sum(REACHES))."""
        logits, kept = self.net.step(frames, list(torch.split(state, REACHES, dim=2)))
        return logits[:, 0], torch.cat(kept, dim=2)


def export_gate(net: GateNet, path: Path) -> None:
    """Write the gate as ONNX with inputs ``frames, state`` and outputs ``logits, next_state``."""
    # eval() on the wrapper: the exporter gives a net back in the mode that it found.
    step = GateStep(net).eval()
    frames = torch.zeros(1, STEM_CONTEXT + HOP_FRAMES, N_MELS)
    state = torch.zeros(1, net.width, sum(REACHES))
    names = {"input_names": ["frames", "state"], "output_names": ["logits", "next_state"]}
    _export(step, (frames, state), path, names)


def _export(net: nn.Module, example: tuple[Tensor, ...], path: Path, names: dict[str, list[str]]) -> None:
    unfolded = path.with_suffix(".raw.onnx")
    with warnings.catch_warnings():
        # The older exporter is deprecated; the newer one needs onnxscript and has no use for us here.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(net, example, str(unfolded), opset_version=OPSET, dynamo=False, **names)
    quant_pre_process(str(unfolded), str(path), skip_symbolic_shape=True)
    unfolded.unlink()


class _HopReader(CalibrationDataReader):
    """Feeds real hops with the states that the float model reaches on them."""

    def __init__(self, path: Path, sequences: NDArray[np.float16]) -> None:
        self._feeds = self._play(onnxruntime.InferenceSession(str(path)), sequences)

    @staticmethod
    def _play(session: Any, sequences: NDArray[np.float16]) -> Iterator[dict[str, NDArray[np.float32]]]:
        shape = session.get_inputs()[1].shape
        for sequence in sequences.astype(np.float32):
            state = np.zeros(shape, np.float32)
            padded = np.concatenate([np.zeros((STEM_CONTEXT, N_MELS), np.float32), sequence])
            for k in range(len(sequence) // HOP_FRAMES):
                frames = padded[None, k * HOP_FRAMES : (k + 1) * HOP_FRAMES + STEM_CONTEXT]
                feed = {"frames": frames, "state": state}
                if k % 4 == 3:
                    yield feed
                state = session.run(["next_state"], feed)[0]

    @override
    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feeds, None)


def quantize_gate(source: Path, target: Path, sequences: NDArray[np.float16]) -> None:
    """Static int8, calibrated on ``sequences`` float16 (n, frames, N_MELS)."""
    _quantize(source, target, _HopReader(source, sequences))


def _quantize(source: Path, target: Path, reader: CalibrationDataReader) -> None:
    """QDQ with weights per channel, every operation in int8: half the time of convolutions alone.

    Weights keep to 7 bits: the AVX2 kernels of processors without VNNI add pairs of products in
    16 bits and would saturate, and scores must not depend on the processor.
    """
    quantize_static(
        str(source),
        str(target),
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def export_cause(net: CauseNet, path: Path) -> None:
    """Write the classifier as ONNX with input ``segment`` and output ``logits``."""
    segment = torch.zeros(1, SEGMENT_FRAMES, N_MELS)
    _export(net.eval(), (segment,), path, {"input_names": ["segment"], "output_names": ["logits"]})


class _SegmentReader(CalibrationDataReader):
    def __init__(self, segments: NDArray[np.float16]) -> None:
        self._feeds = iter(segments.astype(np.float32)[:, None])

    @override
    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        segment = next(self._feeds, None)
        return None if segment is None else {"segment": segment}


def quantize_cause(source: Path, target: Path, segments: NDArray[np.float16]) -> None:
    """Static int8, calibrated on ``segments`` float16 (n, SEGMENT_FRAMES, N_MELS)."""
    _quantize(source, target, _SegmentReader(segments))


def parameters_of(path: Path) -> int:
    """Number of weights in an ONNX file."""
    return sum(int(np.prod(t.dims)) for t in onnx.load(str(path)).graph.initializer)
