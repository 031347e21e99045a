"""Torch to ONNX, float to int8."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training import quantize
from models.training.nets.cause import CauseNet
from models.training.nets.gate import DILATIONS, FRAMES_PER_STEP, KERNEL, STEM_CONTEXT, GateNet
from models.training.onnx_tools import quant_pre_process
from models.training.quantize import Feed
from monitor.detect.classifier import SEGMENT_FRAMES
from monitor.detect.features import N_MELS
from monitor.detect.inference import Network

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
    write_onnx(step, (frames, state), path, names)


def write_onnx(net: nn.Module, example: tuple[Tensor, ...], path: Path, names: dict[str, list[str]]) -> None:
    """Any net in eval mode as float ONNX; ``names`` has "input_names" and "output_names"."""
    unfolded = path.with_suffix(".raw.onnx")
    with warnings.catch_warnings():
        # The older exporter is deprecated; the newer one needs onnxscript and has no use for us here.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(net, example, str(unfolded), opset_version=OPSET, dynamo=False, **names)
    quant_pre_process(str(unfolded), str(path), skip_symbolic_shape=True)
    unfolded.unlink()
    quantize.slim(path)


def gate_feeds(path: Path, sequences: NDArray[np.float16]) -> Iterator[Feed]:
    """Every fourth hop of ``sequences``, float16 (n, frames, N_MELS), with the state that it finds."""
    network = Network(path)
    for sequence in sequences.astype(np.float32):
        state = np.zeros(network.input_shape("state"), np.float32)
        padded = np.concatenate([np.zeros((STEM_CONTEXT, N_MELS), np.float32), sequence])
        for k in range(len(sequence) // HOP_FRAMES):
            frames = padded[None, k * HOP_FRAMES : (k + 1) * HOP_FRAMES + STEM_CONTEXT]
            feed = {"frames": frames, "state": state}
            if k % 4 == 3:
                yield feed
            state = network.run(feed)[1]


def quantize_gate(source: Path, target: Path, sequences: NDArray[np.float16]) -> None:
    """Static int8, calibrated on ``sequences`` float16 (n, frames, N_MELS)."""
    quantize.static_int8(source, target, gate_feeds(source, sequences))


def export_cause(net: CauseNet, path: Path) -> None:
    """Write the classifier as ONNX with input ``segment`` and output ``logits``."""
    segment = torch.zeros(1, SEGMENT_FRAMES, N_MELS)
    write_onnx(net.eval(), (segment,), path, {"input_names": ["segment"], "output_names": ["logits"]})


def quantize_cause(source: Path, target: Path, segments: NDArray[np.float16]) -> None:
    """Static int8, calibrated on ``segments`` float16 (n, SEGMENT_FRAMES, N_MELS)."""
    quantize.static_int8(source, target, ({"segment": s[None]} for s in segments.astype(np.float32)))
