"""Pooling over time after InfantCryNet (arXiv 2409.19689): statistics and multi-head attention.

Statistic pooling is mean and standard deviation (Snyder et al. 2018, x-vectors); multi-head attention
pooling follows India et al. 2019: each head weighs time with its own query over its share of channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
