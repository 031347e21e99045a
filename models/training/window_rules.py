"""Window scores read by a threshold and a hang-over, as Frigate reads them: how the rivals are measured.

A rival is a network that scores windows of audio. A window counts as crying when its score passes a
threshold; the event ends after 30 s without such a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training.metrics import Episode
from models.training.tracks import Track

MAX_NOT_HEARD_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Rule:
    """When a window counts as crying: score above, and RMS (of int16 samples) at least."""

    name: str
    threshold: float
    min_rms: float = 0.0


@dataclass(frozen=True, slots=True)
class WindowScores:
    """What the rules look at, one entry a window; ``cpu_s`` is the network's process time for it.

    Window ``i`` covers ``i * hop_s`` to ``i * hop_s + window_s``.
    """

    crying: NDArray[np.float64]
    rms: NDArray[np.float64]
    cpu_s: NDArray[np.float64]
    window_s: float
    hop_s: float

    def cpu_s_per_hour(self, rule: Rule) -> float:
        """Process time per hour of audio when windows under the volume limit are not scored."""
        scored = self.rms >= rule.min_rms
        return float(self.cpu_s[scored].sum() / (len(self.rms) * self.hop_s) * 3600.0)

    def track(self) -> Track:
        """Each window's score over the hop in its middle."""
        edges = np.arange(len(self.crying) + 1) * self.hop_s + (self.window_s - self.hop_s) / 2.0
        if len(self.crying):
            edges[0] = 0.0
            edges[-1] = (len(self.crying) - 1) * self.hop_s + self.window_s
        return Track(edges, self.crying, np.ones(len(self.crying), np.bool_))


@dataclass(frozen=True, slots=True)
class Rival:
    """A network to measure beside ours, loaded and ready."""

    name: str
    weights: Path
    rules: Sequence[Rule]
    score: Callable[[NDArray[np.int16]], WindowScores]
    """Scores of a recording, int16 (n,) at 16 kHz."""
    version: str
    """Of window, hop and classes: scores that were kept belong to one version."""


def rule_episodes(scores: WindowScores, rule: Rule) -> list[Episode]:
    """The events of one rule; each is known at the end of its first window that fired."""
    hits = np.flatnonzero((scores.crying > rule.threshold) & (scores.rms >= rule.min_rms))
    episodes: list[Episode] = []
    for hit in hits:
        start = float(hit) * scores.hop_s
        stop = start + scores.window_s
        if episodes and stop - episodes[-1].offset_s <= MAX_NOT_HEARD_S:
            episodes[-1] = Episode(episodes[-1].onset_s, episodes[-1].detected_s, stop)
        else:
            episodes.append(Episode(start, stop, stop))
    return episodes


def crying_s(episodes: Sequence[Episode]) -> float:
    """Seconds that the events say were crying."""
    return sum(episode.offset_s - episode.onset_s for episode in episodes)
