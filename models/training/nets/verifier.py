"""The verifier: mn04's trunk under InfantCryNet's pooling, for one segment of 2.4 s.

The early blocks stay as AudioSet taught them; the later ones and the head learn our question. Statistic and
multi-head attention pooling lie side by side over the trunk's columns (arXiv 2409.19689).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from typing_extensions import override

from models.training.nets.mn04 import EMBEDDING, MN04
from models.training.nets.pooling import MultiHeadAttentionPooling, StatisticPooling

FROZEN_BLOCKS: Final = 7
"""Blocks that stay as they are; what they give is computed once and kept."""


class Verifier(nn.Module):
    """Cry logit, embedding and columns of segments."""

    def __init__(self, trunk: MN04, *, heads: int = 8, hidden: int = 96, dropout: float = 0.2) -> None:
        super().__init__()
        self.early = trunk.features[:FROZEN_BLOCKS].requires_grad_(requires_grad=False)
        self.late = trunk.features[FROZEN_BLOCKS:]
        self.statistic = StatisticPooling()
        self.attention = MultiHeadAttentionPooling(EMBEDDING, heads)
        self.head = nn.Sequential(
            nn.LayerNorm(3 * EMBEDDING),
            nn.Dropout(dropout),
            nn.Linear(3 * EMBEDDING, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    @override
    def train(self, mode: bool = True) -> Verifier:
        """Learn, but keep the trunk's normalisation: its statistics are AudioSet's, not a batch's."""
        super().train(mode)
        for part in (*self.early.modules(), *self.late.modules()):
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def columns(self, maps: Tensor) -> Tensor:
        """Columns (batch, EMBEDDING, n) of the early blocks' maps."""
        late: Tensor = self.late(maps)
        return late.mean(dim=2)

    def judge(self, columns: Tensor) -> Tensor:
        """Cry logits (batch,) of columns."""
        pooled = torch.cat([self.statistic(columns), self.attention(columns)], dim=1)
        logits: Tensor = self.head(pooled)
        return logits.squeeze(1)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Cry logit (batch,) and embedding (batch, EMBEDDING) of bands (batch, N_BANDS, N_FRAMES)."""
        columns = self.columns(self.early(mel.unsqueeze(1)))
        return self.judge(columns), columns.mean(dim=2)
