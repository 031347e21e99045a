"""The episode state machine: hop scores in, started / updated / ended out.

::

    CALM ──a tier's hits are complete────► CRYING ──hang-over without a hop at or above offset──► COOL
      ▲                                                                                             │
      └───────────────────────────────────cool-down passed──────────────────────────────────────────┘

Two tiers may start an episode: the quick one by a few hops of high score, the patient one by many of a lower
score over a longer time. A cry goes on; most of what sounds like one does not.

Pure: no clock, no audio. Positions are sample indices. In COOL the hits are counted as ever, so a cry
that goes on through the cool-down starts an episode at its end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto

from monitor.detect.odds import logit, sigmoid
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
class Tier:
    """``hits`` hops at or above ``onset`` among the last ``window_hops`` start an episode."""

    onset: float
    hits: int
    window_hops: int

    def __post_init__(self) -> None:
        if not 1 <= self.hits <= self.window_hops:
            raise ValueError(
                f"hits {self.hits} of window_hops {self.window_hops}: need 1 <= hits <= window_hops"
            )

    def eased(self, logits: float) -> Tier:
        """A tier whose threshold lies ``logits`` lower."""
        return replace(self, onset=sigmoid(logit(self.onset) - logits))


@dataclass(frozen=True, slots=True)
class EpisodeRules:
    """Thresholds in [0, 1], ``offset`` at most the quick tier's onset; times in samples."""

    quick: Tier
    offset: float
    hang_over: int
    cool_down: int
    update_every: int
    patient: Tier | None = None

    def __post_init__(self) -> None:
        onset = self.quick.onset
        if not 0.0 <= self.offset <= onset <= 1.0:
            raise ValueError(f"offset {self.offset} and onset {onset}: need 0 <= offset <= onset <= 1")

    def eased(self, logits: float) -> EpisodeRules:
        """Rules under which an episode starts at scores ``logits`` lower; it ends as before."""
        if logits == 0.0:
            return self
        quick = self.quick.eased(logits)
        patient = None if self.patient is None else self.patient.eased(logits)
        return replace(self, quick=quick, patient=patient, offset=min(self.offset, quick.onset))

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The quick one first."""
        return (self.quick,) if self.patient is None else (self.quick, self.patient)


class _Counter:
    """The hits of one tier among its last hops."""

    def __init__(self, tier: Tier) -> None:
        self._tier = tier
        self._hops: deque[Hop | None] = deque(maxlen=tier.window_hops)

    def complete(self, hop: Hop) -> bool:
        """Count ``hop``; whether it is a hit and the tier's hits are complete with it."""
        hit = hop.score >= self._tier.onset
        self._hops.append(hop if hit else None)
        return hit and len(self.hits()) >= self._tier.hits

    def hits(self) -> list[Hop]:
        """The counted hops, oldest first."""
        return [hop for hop in self._hops if hop is not None]

    def clear(self) -> None:
        """Count from here on."""
        self._hops.clear()


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
        self._counters: list[_Counter] = []
        self.follow(rules)
        self._state = State.CALM
        self._number = 0
        self._onset = self._detected = self._offset = self._calm_from = SampleIndex(0)
        self._score = 0.0
        self._level = Dbfs(0.0)
        self._crying = 0
        self._updated = SampleIndex(0)

    @property
    def rules(self) -> EpisodeRules:
        return self._rules

    @property
    def crying(self) -> bool:
        """An episode is open."""
        return self._state is State.CRYING

    def follow(self, rules: EpisodeRules) -> None:
        """Go by other rules from here on; an open episode goes on, hits are counted anew."""
        self._rules = rules
        self._counters = [_Counter(tier) for tier in rules.tiers]

    def process(self, hop: Hop) -> list[EpisodeEvent]:
        """Advance by one hop; hops come in order."""
        complete = [counter for counter in self._counters if counter.complete(hop)]
        if self._state is State.CRYING:
            return self._go_on(hop)
        if self._state is State.COOL and hop.stop - self._calm_from >= self._rules.cool_down:
            self._state = State.CALM
        if complete and self._state is State.CALM:
            return [self._start(hop, complete[0].hits())]
        return []

    def skip(self, until: SampleIndex) -> list[EpisodeEvent]:
        """Pass over lost audio: hits before it no longer count, and the hang-over runs on."""
        self._forget()
        if self._state is State.CRYING and until - self._offset >= self._rules.hang_over:
            return [self._end(until, truncated=True)]
        return []

    def finish(self, at: SampleIndex) -> list[EpisodeEvent]:
        """End of the stream: close an open episode."""
        self._forget()
        return [self._end(at, truncated=True)] if self.crying else []

    def _forget(self) -> None:
        for counter in self._counters:
            counter.clear()

    def _start(self, hop: Hop, hits: list[Hop]) -> EpisodeStarted:
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
        self._forget()
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
