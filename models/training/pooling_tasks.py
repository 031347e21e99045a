"""The two questions of the pooling study: what is crying, and why; with rows, loss and base rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.training.cause import LABELS
from models.training.grouped import stratified_group_folds
from models.training.pooling_inputs import Cries, Heard, SceneSegments, Trunk
from models.training.pooling_scores import TaskName
from models.training.train import Indices, Loss

Rows = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A question with its data.

    ``splits(seed)``: rows to learn from and rows held out. ``loss(logits, rows)`` of a batch;
    ``log_rates`` of the rows learned from are added to a head's evidence while it learns.
    """

    name: TaskName
    heard: Heard
    n_outputs: int
    splits: Callable[[int], list[tuple[Rows, Rows]]]
    loss: Callable[[Tensor, Rows], Tensor]
    log_rates: Callable[[Rows], Numbers]

    def loss_on(self, trunk: Trunk, rows: Rows) -> Loss:
        """What :func:`fit` minimises over the given rows."""
        heard, rates = self.heard[trunk], torch.from_numpy(self.log_rates(rows).astype(np.float32))

        def loss(net: nn.Module, batch: Indices) -> Tensor:
            chosen = rows[batch]
            return self.loss(net(floats(heard[chosen])) + rates, chosen)

        return loss


def detection_task(train: SceneSegments, val: SceneSegments, heard: Heard) -> Task:
    """How much of a segment is crying? Heads learn from scenes of train and are measured on those of val."""
    share = torch.from_numpy(np.concatenate([train.share, val.share]))
    weight = torch.from_numpy(np.concatenate([train.weight, val.weight]))
    split = np.split(np.arange(len(share)), [len(train.share)])

    def loss(logits: Tensor, rows: Rows) -> Tensor:
        each = functional.binary_cross_entropy_with_logits(logits[:, 0], share[rows], reduction="none")
        return (each * weight[rows]).sum() / weight[rows].sum()

    return Task("detection", heard, 1, lambda _: [(split[0], split[1])], loss, lambda _: np.zeros(1))


def cause_task(cries: Cries, heard: Heard, n_folds: int) -> Task:
    """Why? Logit-adjusted (Menon et al. 2007.07314), so that a head's evidence is free of base rates."""
    cause = torch.from_numpy(cries.cause)

    def splits(seed: int) -> list[tuple[Rows, Rows]]:
        folds = stratified_group_folds(cries.cause, cries.groups, n_folds, np.random.default_rng(seed))
        return [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(n_folds)]

    def log_rates(rows: Rows) -> Numbers:
        counts = np.bincount(cries.cause[rows], minlength=len(LABELS)) + 1.0
        return np.log(counts / counts.sum())

    def loss(logits: Tensor, rows: Rows) -> Tensor:
        return functional.cross_entropy(logits, cause[rows])

    return Task("cause", heard, len(LABELS), splits, loss, log_rates)


def floats(values: NDArray[np.float16]) -> Tensor:
    """As nets take what is kept in half precision."""
    return torch.from_numpy(values.astype(np.float32))
