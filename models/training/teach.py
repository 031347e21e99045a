"""What the teacher says about scenes, computed once and stored: columns, cry logits, targets.

The teacher is mn04 with a small head over its columns (one each 0.32 s); it may look into the future,
which a live student cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from models.training import scenes
from models.training.nets import mn04
from models.training.train import Indices, Schedule, fit

COLUMN_STEPS = 4
"""Steps of 80 ms in a column of 320 ms."""
N_COLUMNS = scenes.STEPS // COLUMN_STEPS + 1


class TeacherHead(nn.Module):
    """Cry logits a column from mn04's columns: (batch, 384, n) -> (batch, n)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(mn04.EMBEDDING),
            nn.Dropout(0.2),
            nn.Conv1d(mn04.EMBEDDING, width, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(width, width, 5, padding=2),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(width, 1, 1),
        )

    def forward(self, columns: Tensor) -> Tensor:
        return self.layers(columns).squeeze(1)


def at_teacher_rate(audio: Tensor) -> Tensor:
    """Exact band-limited interpolation from 16 to 32 kHz, (batch, n) -> (batch, 2n)."""
    spectrum = torch.fft.rfft(audio)
    return torch.fft.irfft(functional.pad(spectrum, (0, audio.shape[1] // 2)), 2 * audio.shape[1]) * 2.0


@torch.no_grad()
def columns_of(pretrained: Path, audio: NDArray[np.int16], *, batch: int = 16) -> NDArray[np.float16]:
    """mn04's columns, one for each 0.32 s begun: float16 (n, 384, n_columns) of int16 (n, length)."""
    net, front_end = load_teacher(pretrained), mn04.MelFrontEnd()
    n_columns = audio.shape[1] // (COLUMN_STEPS * scenes.STEP_SAMPLES) + 1
    out = np.zeros((len(audio), mn04.EMBEDDING, n_columns), np.float16)
    for start in track(range(0, len(audio), batch), "teacher listens"):
        waves = torch.from_numpy(audio[start : start + batch].astype(np.float32) / 32768.0)
        out[start : start + batch] = net.columns(front_end(at_teacher_rate(waves))).numpy()
    return out


def by_column(steps: NDArray[np.float32]) -> Tensor:
    """Means of the steps of each column, (n, STEPS) -> float32 (n, N_COLUMNS)."""
    pad = N_COLUMNS * COLUMN_STEPS - scenes.STEPS
    padded = np.pad(steps, ((0, 0), (0, pad)), mode="edge")
    return torch.from_numpy(padded.reshape(len(steps), N_COLUMNS, COLUMN_STEPS).mean(axis=2))


def train_head(
    columns: NDArray[np.float16],
    label: NDArray[np.float32],
    weight: NDArray[np.float32],
    schedule: Schedule,
    seed: int,
) -> TeacherHead:
    """Teach a head on frozen columns what the scenes hold; label and weight are (n, STEPS)."""
    labels, weights = by_column(label), by_column(weight)

    def loss(net: nn.Module, batch: Indices) -> Tensor:
        logits = net(torch.from_numpy(columns[batch].astype(np.float32)))
        each = functional.binary_cross_entropy_with_logits(logits, labels[batch], reduction="none")
        return (each * weights[batch]).sum() / weights[batch].sum()

    torch.manual_seed(seed)
    head = fit(TeacherHead(), len(columns), loss, schedule, seed=seed, title="teacher's head")
    assert isinstance(head, TeacherHead)
    return head


@dataclass(frozen=True)
class Lesson:
    """What a student learns from: ``cry`` float32 (n, STEPS) probabilities, ``hints`` (n, N_COLUMNS, k)."""

    cry: NDArray[np.float32]
    hints: NDArray[np.float16]


@torch.no_grad()
def lesson(head: TeacherHead, columns: NDArray[np.float16], principal: NDArray[np.float32]) -> Lesson:
    """The teacher's answers, and its columns seen along their principal axes, each of unit variance.

    ``principal``: float32 (385, k), the last row the offset, from :func:`principal_axes`.
    """
    answers = [
        torch.sigmoid(head(torch.from_numpy(columns[k : k + 256].astype(np.float32)))).numpy()
        for k in range(0, len(columns), 256)
    ]
    cry = np.repeat(np.concatenate(answers), COLUMN_STEPS, axis=1)[:, : scenes.STEPS]
    hints = [
        (part.transpose(0, 2, 1).astype(np.float32) @ principal[:-1] + principal[-1]).astype(np.float16)
        for part in np.array_split(columns, max(1, len(columns) // 256))
    ]
    return Lesson(cry, np.concatenate(hints))


def principal_axes(columns: NDArray[np.float16], k: int, seed: int) -> NDArray[np.float32]:
    """Affine map (385, k) to the ``k`` strongest principal components, each of unit variance."""
    rng = np.random.default_rng(seed)
    rows = columns.transpose(0, 2, 1).reshape(-1, mn04.EMBEDDING)
    some = rows[rng.choice(len(rows), min(len(rows), 20_000), replace=False)].astype(np.float64)
    mean = some.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(some.T))
    axes = vectors[:, ::-1][:, :k] / np.sqrt(values[::-1][:k])
    return np.vstack([axes, -mean @ axes]).astype(np.float32)


def load_teacher(pretrained: Path) -> mn04.MN04:
    """mn04 from the folder of pre-trained weights."""
    return mn04.load(pretrained / "efficientat-mn04" / "mn04_as_mAP_432.pt")
