"""What an answer about causes is worth: with so few babies, mostly how sure one can be of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training.metrics import Interval

Numbers = NDArray[np.float64]


def recalls(hit: Numbers, label: NDArray[np.int64], weight: Numbers | None = None) -> Numbers:
    """Weighted share of hits in each class that occurs. ``hit`` (n,): 0 or 1, or a mean of repeats."""
    w = np.ones(len(hit)) if weight is None else weight
    n_classes = int(label.max()) + 1
    total = np.bincount(label, w, n_classes)
    found = np.bincount(label, w * hit, n_classes)
    return found[total > 0.0] / total[total > 0.0]


def macro_f1(guess: NDArray[np.int64], label: NDArray[np.int64]) -> float:
    """Mean over the classes that occur of F1; a class never guessed has 0."""
    scores = []
    for c in np.unique(label):
        right = int(((guess == c) & (label == c)).sum())
        scores.append(2.0 * right / int((guess == c).sum() + (label == c).sum()))
    return float(np.mean(scores))


def confusion(guess: NDArray[np.int64], label: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Counts (n_classes, n_classes), rows the labels, columns the guesses."""
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (label, guess), 1)
    return counts


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers given with like probability: how many, how sure on average, and how often right."""

    n: int
    confidence: float
    accuracy: float


def reliability(p: Numbers, label: NDArray[np.int64], n_bins: int = 10) -> list[ReliabilityBin]:
    """Top answers by their probability, in bins of equal width; empty bins are left out."""
    top, right = p.max(axis=1), p.argmax(axis=1) == label
    where = np.minimum((top * n_bins).astype(np.int64), n_bins - 1)
    return [
        ReliabilityBin(int(inside.sum()), float(top[inside].mean()), float(right[inside].mean()))
        for inside in (where == b for b in range(n_bins))
        if inside.any()
    ]


def expected_calibration_error(p: Numbers, label: NDArray[np.int64], n_bins: int = 10) -> float:
    """Mean distance between how sure the answer was and how often it was right (Guo et al. 2017)."""
    return sum(b.n * abs(b.confidence - b.accuracy) for b in reliability(p, label, n_bins)) / len(label)


def risk_coverage(p: Numbers, label: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
    """Share answered, and share of wrong among those, answering the surest first.

    Equal probabilities are answered together: there is no rule that would part them.
    """
    order = np.argsort(-p.max(axis=1), kind="stable")
    sure = p.max(axis=1)[order]
    wrong = np.cumsum((p.argmax(axis=1) != label)[order])
    last = np.append(np.diff(sure) != 0.0, True)
    n = np.arange(1, len(label) + 1)
    return n[last] / len(label), wrong[last] / n[last]


def area_under_risk(p: Numbers, label: NDArray[np.int64]) -> float:
    """Mean risk over all coverages; an answer that never varies has its error rate."""
    coverage, risk = risk_coverage(p, label)
    return float(np.sum(np.diff(np.concatenate([[0.0], coverage])) * risk))


def group_draws(groups: NDArray[np.str_], draws: int, rng: np.random.Generator) -> Numbers:
    """How often each item is in each bootstrap sample of whole groups, (draws, n)."""
    names, own = np.unique(groups, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=draws)
    return counts[:, own].astype(np.float64)


def interval_of(value: float, drawn: Sequence[float] | Numbers) -> Interval:
    """A figure with the percentiles 2.5 and 97.5 of its bootstrap; draws that are nan are left out."""
    low, high = np.nanpercentile(np.asarray(drawn), [2.5, 97.5])
    return Interval(value, float(low), float(high))


def mean_interval(values: Numbers, weights: Numbers) -> Interval:
    """The mean of ``values`` (n,) with its interval; ``weights`` from :func:`group_draws`."""
    used = weights.sum(axis=1) > 0.0
    return interval_of(float(values.mean()), weights[used] @ values / weights[used].sum(axis=1))


def balanced_accuracy_interval(hit: Numbers, label: NDArray[np.int64], weights: Numbers) -> Interval:
    """Mean recall with its interval. Draws in which a class is missing are left out."""
    n_classes = len(np.unique(label))
    drawn = [recalls(hit, label, w) for w in weights]
    return interval_of(
        float(recalls(hit, label).mean()),
        [float(found.mean()) if len(found) == n_classes else np.nan for found in drawn],
    )


def permutation_p(observed: float, permuted: Numbers) -> float:
    """Chance of so large a value or a larger one, the observed one counted among the permuted."""
    return float((1 + int((permuted >= observed).sum())) / (1 + len(permuted)))


def holm(p: Sequence[float]) -> list[float]:
    """p-values after Holm's correction for the number of questions asked, in the given order."""
    order = np.argsort(p, kind="stable")
    corrected, highest = [0.0] * len(p), 0.0
    for rank, which in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[which]))
        corrected[int(which)] = highest
    return corrected
