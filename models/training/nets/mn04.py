"""EfficientAT mn04 (MobileNetV3, width 0.4), the teacher, written from the published description.

Schmid, Koutini, Widmer: "Efficient large-scale audio tagging via transformer-to-CNN knowledge
distillation" (2023); weights `mn04_as_mAP_432.pt`, MIT. Module names follow the keys of that file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_RATE_HZ = 32_000
EMBEDDING = 384
STEP_S = 0.32
"""Time between columns of the feature map: 32 frames of 10 ms."""


@dataclass(frozen=True)
class BlockPlan:
    """One inverted residual: kernel, stride and the channels before, within and behind it."""

    kernel: int
    stride: int
    c_in: int
    c_mid: int
    c_out: int
    squeeze: int = 0
    hard_swish: bool = False


PLAN = (
    BlockPlan(3, 1, 8, 8, 8),
    BlockPlan(3, 2, 8, 24, 16),
    BlockPlan(3, 1, 16, 32, 16),
    BlockPlan(5, 2, 16, 32, 16, squeeze=8),
    BlockPlan(5, 1, 16, 48, 16, squeeze=16),
    BlockPlan(5, 1, 16, 48, 16, squeeze=16),
    BlockPlan(3, 2, 16, 96, 32, hard_swish=True),
    BlockPlan(3, 1, 32, 80, 32, hard_swish=True),
    BlockPlan(3, 1, 32, 72, 32, hard_swish=True),
    BlockPlan(3, 1, 32, 72, 32, hard_swish=True),
    BlockPlan(3, 1, 32, 192, 48, squeeze=48, hard_swish=True),
    BlockPlan(3, 1, 48, 272, 48, squeeze=72, hard_swish=True),
    BlockPlan(5, 2, 48, 272, 64, squeeze=72, hard_swish=True),
    BlockPlan(5, 1, 64, 384, 64, squeeze=96, hard_swish=True),
    BlockPlan(5, 1, 64, 384, 64, squeeze=96, hard_swish=True),
)


def conv_norm(
    c_in: int, c_out: int, kernel: int, stride: int, groups: int, activation: type[nn.Module] | None
) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(c_out, eps=0.001, momentum=0.01)
    return nn.Sequential(conv, norm, *([] if activation is None else [activation()]))


class SqueezeExcite(nn.Module):
    """Weigh channels by their mean over frequency and time."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        inner = nn.Module()
        inner.fc1 = nn.Linear(channels, squeeze)
        inner.fc2 = nn.Linear(squeeze, channels)
        self.conc_se_layers = nn.ModuleList([inner])

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conc_se_layers[0]
        weights = torch.sigmoid(inner.fc2(torch.relu(inner.fc1(x.mean(dim=(2, 3))))))
        return x * weights[:, :, None, None]


class InvertedResidual(nn.Module):
    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        activation: type[nn.Module] = nn.Hardswish if plan.hard_swish else nn.ReLU
        layers: list[nn.Module] = []
        if plan.c_mid != plan.c_in:
            layers.append(conv_norm(plan.c_in, plan.c_mid, 1, 1, 1, activation))
        layers.append(conv_norm(plan.c_mid, plan.c_mid, plan.kernel, plan.stride, plan.c_mid, activation))
        if plan.squeeze:
            layers.append(SqueezeExcite(plan.c_mid, plan.squeeze))
        layers.append(conv_norm(plan.c_mid, plan.c_out, 1, 1, 1, None))
        self.block = nn.Sequential(*layers)
        self.residual = plan.stride == 1 and plan.c_in == plan.c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.residual else y


class MN04(nn.Module):
    """Feature maps, embeddings and AudioSet logits."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_norm(1, 8, 3, 2, 1, nn.Hardswish),
            *(InvertedResidual(plan) for plan in PLAN),
            conv_norm(64, EMBEDDING, 1, 1, 1, nn.Hardswish),
        )
        self.classifier = nn.Sequential(
            nn.Identity(),
            nn.Identity(),
            nn.Linear(EMBEDDING, 512),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(512, 527),
        )

    def columns(self, mel: Tensor) -> Tensor:
        """Per-column embeddings (batch, 384, T / 32) of mel (batch, 1, 128, T): mean over frequency."""
        maps: Tensor = self.features(mel)
        return maps.mean(dim=2)

    def forward(self, mel: Tensor) -> Tensor:
        """AudioSet logits (batch, 527)."""
        logits: Tensor = self.classifier(self.columns(mel).mean(dim=2))
        return logits


class MelFrontEnd(nn.Module):
    """The teacher's own log-mel: 32 kHz, window 800, hop 320 (10 ms), 128 Kaldi mel bands."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(800, periodic=False))
        self.register_buffer("filters", kaldi_filters())

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, n) at 32 kHz in [-1, 1] -> (batch, 1, 128, n // 320 + 1)."""
        emphasised = waveform[:, 1:] - 0.97 * waveform[:, :-1]
        spectrum = torch.stft(
            emphasised,
            1024,
            320,
            800,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        mel = torch.log(self.filters @ power + 1e-5)
        return ((mel + 4.5) / 5.0).unsqueeze(1)


def kaldi_filters(n_mels: int = 128, high_hz: float = 15_000.0) -> Tensor:
    """Triangles linear in mel from 0 to ``high_hz``, (n_mels, 513); the last bin has no weight."""
    bins = torch.arange(512, dtype=torch.float64) * INPUT_RATE_HZ / 1024
    mel = 1127.0 * torch.log1p(bins / 700.0)
    top = 1127.0 * torch.log1p(torch.tensor(high_hz / 700.0, dtype=torch.float64))
    edges = torch.linspace(0.0, float(top), n_mels + 2, dtype=torch.float64)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp(min=0)
    return functional.pad(weights, (0, 1)).float()


def load(path: Path) -> MN04:
    """The pre-trained network, in eval mode. Raises RuntimeError if a key or a shape differs."""
    net = MN04()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval()
