"""Pooling over time after InfantCryNet (arXiv 2409.19689), and the plain ones it is compared with.

Statistic pooling is mean and standard deviation (Snyder et al. 2018, x-vectors); multi-head attention
pooling follows India et al. 2019: each head weighs time with its own query over its share of channels.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

PoolingName = Literal["mean", "max", "statistic", "attention", "statistic+attention"]
POOLINGS: Final[tuple[PoolingName, ...]] = get_args(PoolingName)


class MeanPooling(nn.Module):
    """(batch, width, time) -> (batch, width): mean over time."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=2)


class MaxPooling(nn.Module):
    """(batch, width, time) -> (batch, width): the largest value of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=2)


class StatisticPooling(nn.Module):
    """(batch, width, time) -> (batch, 2 * width): mean and standard deviation over time."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=2)
        # Written out, because the exporter turns var() into a chain of shape arithmetic.
        variance = (x - mean.unsqueeze(2)).square().mean(dim=2)
        return torch.cat([mean, torch.sqrt(variance + 1e-5)], dim=1)


class MultiHeadAttentionPooling(nn.Module):
    """(batch, width, time) -> (batch, width): each head's weighted mean of its channels.

    ``width`` must be a multiple of ``heads``; ValueError otherwise.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of heads {heads}")
        self.heads = heads
        self.query = nn.Conv1d(width, heads, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.query(x), dim=2)
        batch, width, time = x.shape
        parts = x.reshape(batch, self.heads, width // self.heads, time)
        return (parts * weights.unsqueeze(2)).sum(dim=3).reshape(batch, width)


class SideBySide(nn.Module):
    """The answers of several poolings, one behind the other."""

    def __init__(self, *poolings: nn.Module) -> None:
        super().__init__()
        self.poolings = nn.ModuleList(poolings)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([pooling(x) for pooling in self.poolings], dim=1)


def pooling_of(name: PoolingName, width: int, heads: int) -> tuple[nn.Module, int]:
    """The pooling of that name over ``width`` channels, and how many numbers it gives."""
    if name == "mean":
        return MeanPooling(), width
    if name == "max":
        return MaxPooling(), width
    if name == "statistic":
        return StatisticPooling(), 2 * width
    attention = MultiHeadAttentionPooling(width, heads)
    if name == "attention":
        return attention, width
    return SideBySide(StatisticPooling(), attention), 3 * width
