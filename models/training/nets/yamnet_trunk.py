"""YAMNet (MobileNet v1 on AudioSet, 521 classes) as a trunk in torch, with its own log-mel.

Published in tensorflow/models, research/audioset/yamnet (Apache-2.0). The weights are those of the TFLite
file made plain floats, batch normalisation folded into the convolutions; keys as in that file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from monitor.errors import ModelError
from monitor.types import SAMPLE_RATE_HZ

EMBEDDING: Final = 1024
N_CLASSES: Final = 521
STEP_S: Final = 0.32
"""Time between columns of the feature map: 32 frames of 10 ms, as mn04's."""
WEIGHTS_FILE: Final = "yamnet/yamnet_dequant_f32.npz"

WINDOW: Final = 400
HOP: Final = 160
N_FFT: Final = 512
N_MELS: Final = 64

STEM_CHANNELS: Final = 32
PLAN: Final = (
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512), (1, 512),
    (1, 512), (2, 1024), (1, 1024),
)  # fmt: skip
"""Stride and channels of the separable blocks, which the weights number from 2."""


class SameConv(nn.Module):
    """A 3x3 convolution with ReLU, padded as TensorFlow's SAME does: the odd cell goes behind."""

    def __init__(self, c_in: int, c_out: int, stride: int, groups: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(c_in, c_out, 3, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        high, wide = (max(3 - (size % self.stride or self.stride), 0) for size in x.shape[2:])
        padded = functional.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return torch.relu(self.conv(padded))


class Separable(nn.Module):
    """Depthwise 3x3, then pointwise 1x1, each with ReLU."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.depthwise = SameConv(c_in, c_in, stride, groups=c_in)
        self.pointwise = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.pointwise(self.depthwise(x)))


class YamnetTrunk(nn.Module):
    """Feature maps, columns and AudioSet logits of log-mel patches (batch, 1, frames, N_MELS)."""

    def __init__(self) -> None:
        super().__init__()
        blocks, c_in = [], STEM_CHANNELS
        for stride, c_out in PLAN:
            blocks.append(Separable(c_in, c_out, stride))
            c_in = c_out
        self.stem = SameConv(1, STEM_CHANNELS, 2, groups=1)
        self.blocks = nn.Sequential(*blocks)
        self.dense = nn.Linear(EMBEDDING, N_CLASSES)

    def columns(self, mel: Tensor) -> Tensor:
        """Per-column embeddings (batch, 1024, frames / 32): mean over frequency."""
        maps: Tensor = self.blocks(self.stem(mel))
        return maps.mean(dim=3)

    def forward(self, mel: Tensor) -> Tensor:
        """AudioSet logits (batch, 521)."""
        logits: Tensor = self.dense(self.columns(mel).mean(dim=2))
        return logits


class YamnetFrontEnd(nn.Module):
    """YAMNet's log-mel: window 400 (periodic Hann), hop 160, magnitude, 64 HTK mel bands, log(x + 0.001)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=True))
        self.register_buffer("filters", htk_filters())

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, n) at 16 kHz in [-1, 1] -> (batch, 1, (n - 400) // 160 + 1, 64); no frame is padded."""
        frames = waveform.unfold(1, WINDOW, HOP) * self.window
        magnitude = torch.fft.rfft(frames, N_FFT).abs()
        return torch.log(magnitude @ self.filters + 1e-3).unsqueeze(1)


def htk_filters(low_hz: float = 125.0, high_hz: float = 7500.0) -> Tensor:
    """Triangles of height 1, linear in mel = 1127 ln(1 + f / 700), (257, N_MELS)."""
    bins_hz = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE_HZ / N_FFT
    bins = 1127.0 * np.log1p(bins_hz / 700.0)[:, None]
    low, high = 1127.0 * np.log1p(np.array([low_hz, high_hz]) / 700.0)
    edges = np.linspace(low, high, N_MELS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    weights = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    return torch.from_numpy(np.maximum(weights, 0.0).astype(np.float32))


def load(path: Path) -> YamnetTrunk:
    """The pre-trained network, in eval mode. Raises ModelError when the file is not what it should be."""
    try:
        with np.load(path) as weights:
            state = _state_dict(dict(weights))
        net = YamnetTrunk()
        net.load_state_dict(state)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{path} holds no YAMNet weights: {error}.", "See --pretrained.") from error
    return net.eval()


def _state_dict(weights: dict[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """The file's kernels in torch's order: [out, h, w, in] and [1, h, w, channels] -> [out, in, h, w]."""
    homes = {"stem.conv": "layer1/conv"}
    for k in range(len(PLAN)):
        homes[f"blocks.{k}.depthwise.conv"] = f"layer{k + 2}/depthwise_conv"
        homes[f"blocks.{k}.pointwise"] = f"layer{k + 2}/pointwise_conv"
    state = {}
    for name, home in homes.items():
        kernel = weights[f"{home}/kernel"]
        order = (3, 0, 1, 2) if home.endswith("depthwise_conv") else (0, 3, 1, 2)
        state[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel.transpose(order)))
        state[f"{name}.bias"] = torch.from_numpy(weights[f"{home}/bias"])
    state["dense.weight"] = torch.from_numpy(weights["dense/kernel"])
    state["dense.bias"] = torch.from_numpy(weights["dense/bias"])
    return state
