"""A system's scores over one recording, and how they lie beside the truth step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 10
"""Of equal width, for reliability."""


@dataclass(frozen=True, slots=True)
class Track:
    """Scores without a gap: step ``i`` lasts from ``edges_s[i]`` to ``edges_s[i + 1]``."""

    edges_s: NDArray[np.float64]
    scores: NDArray[np.float64]
    heard: NDArray[np.bool_]
    """Whether the model ran; a step that it slept through has score 0."""


def share_covered(edges_s: NDArray[np.float64], runs: Iterable[Sequence[float]]) -> NDArray[np.float64]:
    """Share of each step that lies in one of the disjoint ``runs``, (start_s, stop_s) each, in order."""
    points, total = [0.0], [0.0]
    for start, stop in runs:
        points += [start, stop]
        total += [total[-1], total[-1] + stop - start]
    before = np.interp(edges_s, points, total)
    return np.asarray(np.diff(before) / np.diff(edges_s))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Per bin of the score: steps, the sum of their scores, how many were crying."""

    steps: NDArray[np.int64]
    score_sum: NDArray[np.float64]
    crying: NDArray[np.int64]

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(
            self.steps + other.steps, self.score_sum + other.score_sum, self.crying + other.crying
        )

    def expected_calibration_error(self) -> float:
        """Mean distance between score and share of crying, weighed by steps."""
        full = self.steps > 0
        gaps = np.abs(self.score_sum[full] - self.crying[full])
        return float(gaps.sum() / self.steps.sum()) if full.any() else float("nan")

    def as_json(self) -> dict[str, object]:
        """For the report: bins without steps have no score."""
        safe = np.maximum(self.steps, 1)
        return {
            "steps": self.steps.tolist(),
            "score": np.where(self.steps > 0, self.score_sum / safe, np.nan).tolist(),
            "crying": self.crying.tolist(),
            "ece": self.expected_calibration_error(),
        }


def reliability(track: Track, crying: NDArray[np.bool_], counted: NDArray[np.bool_]) -> Reliability:
    """Of the steps that the model heard and that are ``counted``."""
    chosen = track.heard & counted
    scores = track.scores[chosen]
    at = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    return Reliability(
        np.bincount(at, minlength=BINS),
        np.bincount(at, scores, minlength=BINS),
        np.bincount(at[crying[chosen]], minlength=BINS),
    )
