"""The real detector over recordings: what it raised, hop by hop, and what that cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training.metrics import Episode
from models.training.tracks import Track
from monitor.detect.activity import HOP, ActivityDetector
from monitor.detect.episode import EpisodeRules, EpisodeTracker, Hop
from monitor.detect.pipeline import Pipeline
from monitor.detect.settings import DetectorSettings
from monitor.detect.vad import Vad
from monitor.types import (
    Block,
    Dbfs,
    DetectorOutput,
    EpisodeEnded,
    Gap,
    GapReason,
    HopReport,
    SampleIndex,
    samples,
    seconds,
)

BLOCK_SAMPLES: Final = samples(4.8)
"""Fed at once; the detector gives the same whatever the size (its own tests)."""
GAP_S: Final = 600.0
"""Between two recordings: every stage starts afresh and no cool-down reaches across."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the detector said about one recording; times in seconds since the recording began."""

    episodes: tuple[Episode, ...]
    crying_s: float
    hop_stops_s: NDArray[np.float64]
    awake: NDArray[np.bool_]
    """Per hop: whether the gate model ran."""
    scores: NDArray[np.float32]
    """Per hop: the smoothed score, nan while the gate model slept."""
    cpu_s: float

    def track(self) -> Track:
        """The smoothed scores hop by hop, 0 where the gate model slept."""
        edges = np.concatenate(([0.0], self.hop_stops_s))
        return Track(edges, np.where(self.awake, self.scores, 0.0).astype(np.float64), self.awake)

    @property
    def top_score(self) -> float:
        """Highest smoothed score; 0 when the gate model never ran."""
        heard = self.scores[self.awake]
        return float(heard.max()) if len(heard) else 0.0

    def slept_through(self, start_s: float, stop_s: float) -> bool:
        """Whether the gate model ran in no hop that touches this stretch."""
        return not self.awake[self._touching(start_s, stop_s)].any()

    def slept_s(self, start_s: float, stop_s: float) -> float:
        """Seconds of this stretch that lie in hops without the gate model."""
        starts = np.concatenate(([0.0], self.hop_stops_s[:-1]))
        inside = np.minimum(self.hop_stops_s, stop_s) - np.maximum(starts, start_s)
        return float(np.maximum(inside, 0.0)[~self.awake].sum())

    def _touching(self, start_s: float, stop_s: float) -> slice:
        first = int(np.searchsorted(self.hop_stops_s, start_s, side="right"))
        last = int(np.searchsorted(self.hop_stops_s, stop_s, side="left"))
        return slice(first, last + 1)


class Listener:
    """One pipeline for many recordings, each behind a gap so that none hears the one before."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._position = 0

    def listen(self, x: NDArray[np.int16]) -> Heard:
        """Stream one recording, int16 (n,) at 16 kHz."""
        origin = self._position
        begun = time.process_time()
        outputs: list[DetectorOutput] = []
        for start in range(0, len(x), BLOCK_SAMPLES):
            block = x[start : start + BLOCK_SAMPLES]
            outputs += self._pipeline.process(Block(SampleIndex(origin + start), block))
        outputs += self._pipeline.flush()
        cpu_s = time.process_time() - begun
        gap = Gap(SampleIndex(origin + len(x)), samples(GAP_S), GapReason.OVERRUN)
        leftover = self._pipeline.process(gap)
        if leftover:
            raise RuntimeError(f"a flushed pipeline still had {leftover[0]!r} to say")
        self._position = gap.stop
        return _heard(outputs, origin, cpu_s)


def _heard(outputs: Sequence[DetectorOutput], origin: int, cpu_s: float) -> Heard:
    hops = [output for output in outputs if isinstance(output, HopReport)]
    ended = [output for output in outputs if isinstance(output, EpisodeEnded)]
    return Heard(
        episodes=tuple(
            Episode(seconds(e.onset - origin), seconds(e.detected - origin), seconds(e.offset - origin))
            for e in ended
        ),
        crying_s=sum(episode.crying_s for episode in ended),
        hop_stops_s=np.array([seconds(hop.stop - origin) for hop in hops]),
        awake=np.array([hop.active for hop in hops], dtype=np.bool_),
        scores=np.array([np.nan if hop.score is None else hop.score for hop in hops], dtype=np.float32),
        cpu_s=cpu_s,
    )


def awake_hops(x: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Which whole hops of a recording the cheap activity stage lets through to the gate model."""
    settings = DetectorSettings()
    stage = ActivityDetector(Vad(settings.vad_mode), settings.level_margin_db)
    hops = range(0, len(x) - HOP + 1, HOP)
    return np.array([stage.process(x[k : k + HOP]).active for k in hops], dtype=np.bool_)


def tracked_episodes(
    scores: Sequence[float], awake: Sequence[bool], rules: EpisodeRules
) -> tuple[list[Episode], float]:
    """What the runtime's state machine makes of hop scores: its episodes, and their seconds of crying.

    A hop that is not ``awake`` counts as 0, unless an episode is open: that keeps the gate model awake.
    """
    tracker = EpisodeTracker(rules)
    events = []
    for k, (score, active) in enumerate(zip(scores, awake, strict=True)):
        heard = score if active or tracker.crying else 0.0
        events += tracker.process(Hop(SampleIndex(k * HOP), SampleIndex((k + 1) * HOP), heard, Dbfs(0.0)))
    events += tracker.finish(SampleIndex(len(scores) * HOP))
    ended = [event for event in events if isinstance(event, EpisodeEnded)]
    episodes = [Episode(seconds(e.onset), seconds(e.detected), seconds(e.offset)) for e in ended]
    return episodes, sum(event.crying_s for event in ended)
