"""The cause classifier's student: a small CNN trunk, both poolings of InfantCryNet, one linear layer."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.training.nets.pooling import MultiHeadAttentionPooling, StatisticPooling


class CauseNet(nn.Module):
    """Cause logits of a segment, (batch, n_frames, n_mels) -> (batch, n_causes).

    With ``hints`` it also guesses the teacher's embedding from the pooled vector, a teaching aid that
    the export drops.
    """

    def __init__(
        self,
        n_causes: int = 5,
        channels: tuple[int, int, int] = (16, 32, 48),
        width: int = 64,
        heads: int = 4,
        hints: int = 64,
        n_mels: int = 64,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        sizes = (1, *channels)
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(sizes):
            layers += [
                nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(c_out),
                nn.ReLU(),
            ]
        layers += [nn.Conv2d(channels[-1], width, (3, n_mels // 8), padding=(1, 0), bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.statistic = StatisticPooling()
        self.attention = MultiHeadAttentionPooling(width, heads)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(3 * width, n_causes)
        self.hint = nn.Linear(3 * width, hints)

    def pooled(self, frames: Tensor) -> Tensor:
        """Statistics and attention side by side, (batch, 3 * width)."""
        steps = self.trunk(frames.unsqueeze(1)).squeeze(3)
        return torch.cat([self.statistic(steps), self.attention(steps)], dim=1)

    def forward(self, frames: Tensor) -> Tensor:
        """Cause logits."""
        return self.head(self.dropout(self.pooled(frames)))
