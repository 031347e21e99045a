"""A head over a trunk's columns with a pooling of choice, and mn04 with its last blocks free to learn."""

from __future__ import annotations

import copy
from typing import Final, Self

from torch import Tensor, nn
from typing_extensions import override

from models.training.nets.mn04 import MN04
from models.training.nets.pooling import PoolingName, pooling_of

FIRST_TUNED_BLOCK: Final = 13
"""Blocks 13 to 15 and the last convolution of mn04 learn; their input is (48, 8, frames / 16)."""


class PooledHead(nn.Module):
    """Logits of whole segments from columns: (batch, width, time) -> (batch, n_outputs)."""

    def __init__(
        self, width: int, pooling: PoolingName, n_outputs: int, *, hidden: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.pooling, pooled = pooling_of(pooling, width, heads)
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(pooled, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, n_outputs),
        )

    def forward(self, columns: Tensor) -> Tensor:
        logits: Tensor = self.layers(self.pooling(self.norm(columns)))
        return logits


def body_of(net: MN04) -> nn.Sequential:
    """What stays frozen: mel (batch, 1, 128, T) -> maps (batch, 48, 8, T / 16)."""
    return net.features[:FIRST_TUNED_BLOCK]


class TunedTail(nn.Module):
    """mn04's last blocks under a head: maps of :func:`body_of` -> logits.

    Their normalisation keeps AudioSet's statistics: some thousand segments are too few to make new ones.
    """

    def __init__(self, net: MN04, head: PooledHead) -> None:
        super().__init__()
        self.tail = copy.deepcopy(net.features[FIRST_TUNED_BLOCK:])
        self.head = copy.deepcopy(head)

    @override
    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.tail.eval()
        return self

    def columns(self, maps: Tensor) -> Tensor:
        """(batch, 384, T / 32), as mn04's own."""
        last: Tensor = self.tail(maps)
        return last.mean(dim=2)

    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.head(self.columns(maps))
        return logits
