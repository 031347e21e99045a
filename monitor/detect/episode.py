"""The episode state machine: hop scores in, started / updated / ended out.

::

    CALM ──N of M hops at or above onset──► CRYING ──hang-over without a hop at or above offset──► COOL
      ▲                                                                                             │
      └───────────────────────────────────cool-down passed──────────────────────────────────────────┘

Pure: no clock, no audio. Positions are sample indices. In COOL the hits are counted as ever, so a cry
that goes on through the cool-down starts an episode at its end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from monitor.types import (
    Dbfs,
    EpisodeEnded,
    EpisodeStarted,
    EpisodeUpdated,
    Probability,
    SampleIndex,
    seconds,
)

EpisodeEvent = EpisodeStarted | EpisodeUpdated | EpisodeEnded


@dataclass(frozen=True, slots=True)
class EpisodeRules:
    """Thresholds in [0, 1], ``offset`` at most ``onset``; the rest in samples, hits in hops."""

    onset: float
    offset: float
    hits: int
    window_hops: int
    hang_over: int
    cool_down: int
    update_every: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.offset <= self.onset <= 1.0:
            raise ValueError(f"offset {self.offset} and onset {self.onset}: need 0 <= offset <= onset <= 1")
        if not 1 <= self.hits <= self.window_hops:
            raise ValueError(
                f"hits {self.hits} of window_hops {self.window_hops}: need 1 <= hits <= window_hops"
            )


@dataclass(frozen=True, slots=True)
class Hop:
    """One decision step: where, the smoothed score (0 while the gate model sleeps) and the level."""

    start: SampleIndex
    stop: SampleIndex
    score: float
    level_dbfs: Dbfs


class State(Enum):
    CALM = auto()
    CRYING = auto()
    COOL = auto()


class EpisodeTracker:
    """Turns hops into episode events. Causes are filled in by the pipeline."""

    def __init__(self, rules: EpisodeRules) -> None:
        self._rules = rules
        self._hits: deque[Hop | None] = deque(maxlen=rules.window_hops)
        self._state = State.CALM
        self._number = 0
        self._onset = self._detected = self._offset = self._calm_from = SampleIndex(0)
        self._score = 0.0
        self._level = Dbfs(0.0)
        self._crying = 0
        self._updated = SampleIndex(0)

    @property
    def crying(self) -> bool:
        """An episode is open."""
        return self._state is State.CRYING

    def process(self, hop: Hop) -> list[EpisodeEvent]:
        """Advance by one hop; hops come in order."""
        hit = hop.score >= self._rules.onset
        self._hits.append(hop if hit else None)
        if self._state is State.CRYING:
            return self._go_on(hop)
        if self._state is State.COOL and hop.stop - self._calm_from >= self._rules.cool_down:
            self._state = State.CALM
        if hit and self._state is State.CALM and len(self._counted()) >= self._rules.hits:
            return [self._start(hop)]
        return []

    def skip(self, until: SampleIndex) -> list[EpisodeEvent]:
        """Pass over lost audio: hits before it no longer count, and the hang-over runs on."""
        self._hits.clear()
        if self._state is State.CRYING and until - self._offset >= self._rules.hang_over:
            return [self._end(until, truncated=True)]
        return []

    def finish(self, at: SampleIndex) -> list[EpisodeEvent]:
        """End of the stream: close an open episode."""
        self._hits.clear()
        return [self._end(at, truncated=True)] if self.crying else []

    def _counted(self) -> list[Hop]:
        return [hop for hop in self._hits if hop is not None]

    def _start(self, hop: Hop) -> EpisodeStarted:
        hits = self._counted()
        self._state = State.CRYING
        self._number += 1
        self._onset, self._detected, self._offset = hits[0].start, hop.stop, hop.stop
        self._score = max(h.score for h in hits)
        self._level = max(h.level_dbfs for h in hits)
        self._crying = sum(h.stop - h.start for h in hits)
        self._updated = hop.stop
        return EpisodeStarted(
            self._number, self._onset, self._detected, Probability(self._score), self._level
        )

    def _go_on(self, hop: Hop) -> list[EpisodeEvent]:
        if hop.score >= self._rules.offset:
            self._offset = hop.stop
            self._crying += hop.stop - hop.start
            self._score = max(self._score, hop.score)
            self._level = max(self._level, hop.level_dbfs)
        elif hop.stop - self._offset >= self._rules.hang_over:
            return [self._end(hop.stop, truncated=False)]
        if hop.stop - self._updated < self._rules.update_every:
            return []
        self._updated = hop.stop
        return [
            EpisodeUpdated(
                number=self._number,
                onset=self._onset,
                detected=self._detected,
                at=hop.stop,
                score=Probability(self._score),
                level_dbfs=self._level,
                crying_s=seconds(self._crying),
                cause=None,
            )
        ]

    def _end(self, at: SampleIndex, *, truncated: bool) -> EpisodeEnded:
        self._state = State.COOL
        self._calm_from = at
        self._hits.clear()
        return EpisodeEnded(
            number=self._number,
            onset=self._onset,
            detected=self._detected,
            offset=self._offset,
            at=at,
            score=Probability(self._score),
            level_dbfs=self._level,
            crying_s=seconds(self._crying),
            cause=None,
            truncated=truncated,
        )
