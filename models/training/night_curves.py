"""Recall against false alarms on nights when the threshold is free and the rest of the rule stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.training import metrics
from models.training.metrics import Episode, Interval
from models.training.night_score import Hour
from monitor.detect.odds import logit

THRESHOLDS: Final = tuple(float(t) for t in 1.0 / (1.0 + np.exp(-np.linspace(-7.0, 9.0, 97))))
"""Even in logits: scores crowd at both ends."""
LIMITS_PER_HOUR: Final = (0.1, 0.2, 0.5, 1.0)
"""False alarms an hour at which recall is read off the curve."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One threshold in one hour: which clear bouts were found and when, how many alarms were false."""

    found: tuple[bool, ...]
    delays_s: tuple[float | None, ...]
    false_alarms: int


@dataclass(frozen=True, slots=True)
class Point:
    """One threshold over all hours."""

    threshold: float
    recall: Interval
    alarms_per_hour: Interval
    delay_p50_s: float
    delay_p95_s: float


def sweep(hour: Hour, episodes_at: Callable[[float], Sequence[Episode]]) -> list[Counted]:
    """Count one hour at every threshold; doubtful bouts are neither hits nor misses.

    An episode that was open before the bout found nothing: at a low threshold it would be open all night.
    """
    clear = [not bout["doubtful"] for bout in hour.bouts]
    counted = []
    for threshold in THRESHOLDS:
        matching = metrics.match_episodes(hour.spans(), episodes_at(threshold))
        kept = [k for k, is_clear in enumerate(clear) if is_clear]
        counted.append(
            Counted(
                tuple(matching.delays_s[k] is not None for k in kept),
                tuple(matching.delays_s[k] for k in kept),
                len(matching.false_alarms),
            )
        )
    return counted


def curve(counted: Sequence[Sequence[Counted]], hours: float) -> list[Point]:
    """Join the hours, ``counted[hour][threshold]``."""
    points = []
    for k, threshold in enumerate(THRESHOLDS):
        own = [hour[k] for hour in counted]
        found = [each for one in own for each in one.found]
        delays = [delay for one in own for delay in one.delays_s]
        alarms = sum(one.false_alarms for one in own)
        points.append(
            Point(
                threshold,
                metrics.wilson(sum(found), len(found)),
                metrics.poisson_rate(alarms, hours),
                metrics.percentile(delays, 50.0),
                metrics.percentile(delays, 95.0),
            )
        )
    return points


def best_within(points: Sequence[Point], limit_per_hour: float) -> Point | None:
    """The highest recall that keeps to the limit; at equal recall the highest threshold.

    The threshold is chosen on the very nights it is measured on, so this is what the scores allow at
    best. A threshold chosen elsewhere is read by :func:`at_threshold`.
    """
    fit = [point for point in points if point.alarms_per_hour.value <= limit_per_hour]
    return max(fit, key=lambda point: (point.recall.value, point.threshold), default=None)


def at_threshold(points: Sequence[Point], threshold: float) -> Point:
    """The point of the threshold nearest to this one, in logits."""
    return min(points, key=lambda point: abs(logit(point.threshold) - logit(threshold)))
