"""What the heads of the pooling study are worth: figures over seeds, and gains on the same segments."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.training import cause_metrics, metrics
from models.training.cause import choose_temperature, posterior
from models.training.metrics import Interval
from models.training.pooling_inputs import Cries, SceneSegments, Trunk

Numbers = NDArray[np.float64]
TaskName = Literal["detection", "cause"]
UNKNOWN: Final = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Figure:
    """Mean over seeds, their standard deviation, and the interval of the mean over what was heard."""

    mean: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One trunk under one head, asked one question."""

    task: TaskName
    trunk: Trunk
    head: str
    head_parameters: int
    trunk_parameters: int
    """Weights of the trunk that learned."""
    n_seeds: int
    figures: dict[str, Figure]
    over_mean: Interval = UNKNOWN
    """Gain over mean pooling on the same trunk: AP or balanced accuracy."""
    over_frozen: Interval = UNKNOWN
    """Gain over the same head on frozen mn04."""
    further: dict[str, float] = field(default_factory=dict)


def _figure(values: list[float], interval: Interval) -> Figure:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Figure(float(np.mean(values)), spread, interval.low, interval.high)


class DetectionScores:
    """Measures logits (seeds, n) on segments; intervals over whole scenes."""

    def __init__(self, segments: SceneSegments, draws: int) -> None:
        self._segments = segments
        self._draws = draws

    def figures(self, logits: Numbers) -> dict[str, Figure]:
        return {
            "AUC": self._of(metrics.roc_auc, logits),
            "AP": self._of(metrics.average_precision, logits),
        }

    def gain(self, logits: Numbers, reference: Numbers) -> Interval:
        """AP more than ``reference``'s, on the same draws of scenes and the same seeds."""
        n = len(logits)
        return self._bootstrap(
            lambda s, y: (
                _mean(metrics.average_precision, s[:, :n], y) - _mean(metrics.average_precision, s[:, n:], y)
            ),
            np.concatenate([logits, reference[:n]]),
            self._segments.clear,
        )

    def further(self, logits: Numbers) -> dict[str, float]:
        """The doubtful cries too: those were found by mn04, so leaving them out may flatter it."""
        used = self._segments.one_sided
        crying = self._segments.share[used] > 0.0
        return {"AP with doubtful": _mean(metrics.average_precision, logits[:, used].T, crying)}

    def _of(self, metric: Callable[[Numbers, NDArray[np.bool_]], float], logits: Numbers) -> Figure:
        used = self._segments.clear
        crying = self._segments.share[used] > 0.0
        interval = self._bootstrap(lambda s, y: _mean(metric, s, y), logits, used)
        return _figure([metric(own[used], crying) for own in logits], interval)

    def _bootstrap(
        self,
        metric: Callable[[Numbers, NDArray[np.bool_]], float],
        logits: Numbers,
        used: NDArray[np.bool_],
    ) -> Interval:
        scenes = [str(scene) for scene in self._segments.scene[used]]
        return metrics.bootstrap(
            metric,
            logits[:, used].T,
            self._segments.share[used] > 0.0,
            np.random.default_rng(0),
            groups=scenes,
            draws=self._draws,
        )


def _mean(
    metric: Callable[[Numbers, NDArray[np.bool_]], float], scores: Numbers, labels: NDArray[np.bool_]
) -> float:
    return float(np.mean([metric(own, labels) for own in scores.T]))


class CauseScores:
    """Measures evidence (seeds, n, causes) on cries; intervals over whole phones.

    ``folds`` (seeds, n) are those that the evidence is out of; ``log_rates`` (seeds, n, causes) the base
    rates of what was learned from.
    """

    def __init__(self, cries: Cries, folds: NDArray[np.int64], log_rates: Numbers, draws: int) -> None:
        self._cause = cries.cause
        self._folds = folds
        self._rates = np.exp(log_rates)
        self._weights = cause_metrics.group_draws(cries.groups, draws, np.random.default_rng(0))

    def figures(self, evidence: Numbers) -> dict[str, Figure]:
        hits = self._hits(evidence)
        balanced = cause_metrics.balanced_accuracy_interval(hits.mean(axis=0), self._cause, self._weights)
        f1 = [cause_metrics.macro_f1(own.argmax(axis=1), self._cause) for own in evidence]
        excess = self._excess(evidence)
        return {
            "balanced accuracy": _figure(
                [float(cause_metrics.recalls(h, self._cause).mean()) for h in hits], balanced
            ),
            "macro-F1": _figure(f1, UNKNOWN),
            "log-loss - prior": _figure(
                [float(own.mean()) for own in excess],
                cause_metrics.mean_interval(excess.mean(axis=0), self._weights),
            ),
        }

    def gain(self, evidence: Numbers, reference: Numbers) -> Interval:
        """Balanced accuracy more than ``reference``'s, on the same draws of phones and the same seeds."""
        more = self._hits(evidence).mean(axis=0) - self._hits(reference[: len(evidence)]).mean(axis=0)
        return cause_metrics.balanced_accuracy_interval(more, self._cause, self._weights)

    def further(self, evidence: Numbers) -> dict[str, float]:
        raw = [
            _log_loss(posterior(own, 1.0, rates), self._cause) - _log_loss(rates, self._cause)
            for own, rates in zip(evidence, self._rates, strict=False)
        ]
        return {"log-loss - prior, no temperature": float(np.mean(raw))}

    def _hits(self, evidence: Numbers) -> Numbers:
        return (evidence.argmax(axis=2) == self._cause).astype(np.float64)

    def _excess(self, evidence: Numbers) -> Numbers:
        """Log-loss of each cry beyond the base rates', under a temperature from the other folds' cries."""
        excess = np.zeros(evidence.shape[:2])
        for own, rates, folds, out in zip(evidence, self._rates, self._folds, excess, strict=False):
            for fold in np.unique(folds):
                here, other = folds == fold, folds != fold
                temperature = choose_temperature(own[other], self._cause[other], rates[other])
                p = posterior(own[here], temperature, rates[here])
                out[here] = _each_log_loss(p, self._cause[here]) - _each_log_loss(
                    rates[here], self._cause[here]
                )
        return excess


def _each_log_loss(p: Numbers, cause: NDArray[np.int64]) -> Numbers:
    return -np.log(p[np.arange(len(cause)), cause])


def _log_loss(p: Numbers, cause: NDArray[np.int64]) -> float:
    return float(_each_log_loss(p, cause).mean())
