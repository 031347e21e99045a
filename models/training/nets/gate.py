"""The gate's student: a causal CNN that sees every log-mel frame once.

A small 2-D front shrinks 12 frames of 20 ms to 3 steps of 80 ms without overlapping them in time
(only the stem looks 2 frames back); dilated causal convolutions over the steps then remember 2.4 s.
Trained on whole sequences, exported as one step with explicit state: both are the same arithmetic,
and a test holds them together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FRAMES_PER_STEP = 4
"""Log-mel frames (20 ms) behind one output step (80 ms)."""

STEM_CONTEXT = 2
"""Frames before the first one of a hop that the stem looks at."""

KERNEL = 3
DILATIONS = (1, 2, 4, 8)


class Memory(nn.Module):
    """One residual block of causal dilated convolution over steps, shape (batch, width, steps)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.reach = (KERNEL - 1) * dilation
        self.conv = nn.Conv1d(width, width, KERNEL, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's output and the past that the next call needs, (batch, width, reach)."""
        window = torch.cat([past, x], dim=2)
        return x + torch.relu(self.norm(self.conv(window))), window[:, :, -self.reach :]


class GateNet(nn.Module):
    """Cry logits over streaming log-mel.

    Parameters
    ----------
    channels
        Channels of the four front convolutions.
    width
        Width of the steps' embedding and of the memory blocks.
    n_classes
        Outputs a step; the first is the cry logit, further ones are teaching aids that the export drops.
    """

    def __init__(
        self,
        channels: tuple[int, int, int, int] = (16, 32, 48, 64),
        width: int = 96,
        n_mels: int = 64,
        n_classes: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.width = width

        def front(c_in: int, c_out: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Sequential:
            pad = (0, kernel[1] // 2)
            conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=pad, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())

        c1, c2, c3, c4 = channels
        self.front = nn.Sequential(
            front(1, c1, (4, 5), (2, 2)),
            front(c1, c2, (2, 3), (2, 2)),
            front(c2, c3, (1, 3), (1, 2)),
            front(c3, c4, (1, 3), (1, 2)),
        )
        bands = n_mels // 16
        self.join = nn.Sequential(
            nn.Conv2d(c4, width, (1, bands), bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.memory = nn.ModuleList(Memory(width, d) for d in DILATIONS)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv1d(width, n_classes, 1)

    def initial_state(self, batch: int = 1) -> list[Tensor]:
        """Silence before the stream: one zero tensor (batch, width, reach) a memory block."""
        return [torch.zeros(batch, self.width, block.reach) for block in self.memory]

    def step(self, frames: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Advance by some steps.

        ``frames``: (batch, STEM_CONTEXT + n * FRAMES_PER_STEP, n_mels) normalised log-mel. Returns
        logits (batch, n_classes, n) and the new state.
        """
        x = self.join(self.front(frames.unsqueeze(1))).squeeze(3)
        new_state = []
        for block, past in zip(self.memory, state, strict=True):
            x, kept = block(x, past)
            new_state.append(kept)
        return self.head(self.dropout(x)), new_state

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (batch, n_classes, n // 4) of whole sequences from silence, (batch, n, n_mels)."""
        past = frames.new_zeros(frames.shape[0], STEM_CONTEXT, frames.shape[2])
        state = [s.to(frames.device) for s in self.initial_state(frames.shape[0])]
        return self.step(torch.cat([past, frames], dim=1), state)[0]
