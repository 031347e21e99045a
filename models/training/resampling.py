"""AUC and AP over many resampled draws at once: sorted once, each draw a set of weights.

The same as :func:`metrics.bootstrap` over groups, a hundred times as fast, and paired: two score sets over
the same groups see the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.metrics import Interval, Labels, Scores

Weights = NDArray[np.float64]
"""How often each group was drawn."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores in falling order with their labels; equal scores share a step."""

    positive: NDArray[np.bool_]
    group: NDArray[np.int64]
    steps: NDArray[np.int64]
    """Where each run of equal scores begins."""

    @classmethod
    def of(cls, scores: Scores, labels: Labels, groups: Sequence[Any] | NDArray[Any]) -> Ranking:
        """``groups``: what is drawn as a whole, one entry a score."""
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        steps = np.flatnonzero(np.concatenate(([True], falling[1:] != falling[:-1])))
        _, number = np.unique(np.asarray(groups), return_inverse=True)
        return cls(np.asarray(labels, np.bool_)[order], number[order], steps)

    @property
    def n_groups(self) -> int:
        return int(self.group.max()) + 1

    def auc(self, weights: Weights) -> float:
        """ROC AUC where each group counts ``weights`` times."""
        hits, misses = self._steps(weights)
        above = np.cumsum(misses) - misses
        pairs = hits.sum() * misses.sum()
        return 1.0 - float(np.sum(hits * (above + misses / 2.0)) / pairs) if pairs else float("nan")

    def ap(self, weights: Weights) -> float:
        """Average precision where each group counts ``weights`` times."""
        hits, misses = self._steps(weights)
        taken = np.cumsum(hits + misses)
        if not hits.sum():
            return float("nan")
        precision = np.cumsum(hits) / np.maximum(taken, 1e-12)
        return float(np.sum(hits * precision) / hits.sum())

    def _steps(self, weights: Weights) -> tuple[Weights, Weights]:
        each = weights[self.group]
        hits = np.add.reduceat(np.where(self.positive, each, 0.0), self.steps)
        return hits, np.add.reduceat(np.where(self.positive, 0.0, each), self.steps)


def draws(n_groups: int, n: int, seed: int = 0) -> list[Weights]:
    """``n`` bootstrap draws of groups, as weights."""
    rng = np.random.default_rng(seed)
    return [
        np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups).astype(np.float64)
        for _ in range(n)
    ]


def interval(metric: Callable[[Weights], float], n_groups: int, n: int = 500) -> Interval:
    """A metric of weights with its percentile interval.

    For a paired difference pass ``lambda w: one.auc(w) - other.auc(w)``.
    """
    values = [metric(weights) for weights in draws(n_groups, n)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(metric(np.ones(n_groups)), float(low), float(high))
