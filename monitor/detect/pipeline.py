"""The detector: audio in any portions in, episodes out. No threads, no clock.

The daemon, ``scan``, ``bench``, the evaluation and the tests drive this very object.

For each hop of 240 ms:

1. the cheap activity stage decides whether the gate model hears the hop at all;
2. when it wakes, the gate model is first brought up to date with the second before;
3. log-mel frames, gate logits, smoothed score;
4. where the gate suspects a cry and no episode is open, the verifier has its say in the score;
5. the episode state machine; a cause is looked for only in hops after the one that raised the episode.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.detect.activity import HOP, Activity, ActivityDetector
from monitor.detect.classifier import SEGMENT_FRAMES, CauseClassifier
from monitor.detect.episode import EpisodeTracker, Hop
from monitor.detect.features import OVERLAP, LogMel
from monitor.detect.gate import HOP_FRAMES, GateModel, ScoreSmoother
from monitor.detect.segment_mel import SEGMENT_SAMPLES
from monitor.detect.settings import NEUTRAL_SENSITIVITY, SENSITIVITY_LOGITS, Tuning
from monitor.detect.verifier import Verifier, weighed
from monitor.types import (
    Block,
    CauseEstimate,
    DetectorOutput,
    EpisodeEnded,
    EpisodeStarted,
    EpisodeUpdated,
    Gap,
    HopReport,
    Probability,
    SampleIndex,
    seconds,
)

PRE_ROLL_HOPS: Final = 4
"""Hops before a waking that the gate model hears first, 0.96 s."""

SEGMENT_HOPS: Final = SEGMENT_SAMPLES // HOP

MAX_SEGMENTS: Final = 10
"""Segments of one episode that are classified: a minute of crying tells what it tells."""


@dataclass(slots=True)
class PipelineStats:
    """Counters since the start."""

    hops: int = 0
    awake_hops: int = 0
    wakings: int = 0
    vad_calls: int = 0
    verified_hops: int = 0
    gaps: int = 0
    episodes: int = 0


class Pipeline:
    """One stream of audio. Feed blocks and gaps in order; each gives the outputs that it completes."""

    def __init__(
        self,
        activity: ActivityDetector,
        gate: GateModel,
        smoother: ScoreSmoother,
        tracker: EpisodeTracker,
        classifier: CauseClassifier | None,
        verifier: Verifier | None = None,
        *,
        suspect_threshold: float = 1.0,
        verifier_share: float = 1.0,
        always_awake: bool = False,
    ) -> None:
        """Wire the stages.

        From a gate score of ``suspect_threshold`` on, ``verifier`` is asked and has ``verifier_share`` of the
        say.
        """
        self._activity = activity
        self._gate = gate
        self._smoother = smoother
        self._tracker = tracker
        self._rules = tracker.rules
        self._verifier = verifier
        self._suspect_threshold = suspect_threshold
        self._verifier_share = verifier_share
        self._always_awake = always_awake
        self._cause_spared = self._verifier_spared = False
        self._log_mel = LogMel()
        self._segments = None if classifier is None else _SegmentCollector(classifier)
        self._pending = np.empty(0, np.int16)
        self._position = SampleIndex(0)
        self._recent: deque[NDArray[np.int16]] = deque(maxlen=SEGMENT_HOPS)
        self._awake = False
        self._stats = PipelineStats()

    def process(self, item: Block | Gap) -> list[DetectorOutput]:
        """Advance by a block or a gap, which begin where the last one ended.

        Raises
        ------
        ValueError
            If the item does not join the stream, which is an error of the source.
        """
        head = self._position + len(self._pending)
        if item.start != head:
            raise ValueError(f"{type(item).__name__} starts at sample {item.start}, the stream is at {head}")
        if isinstance(item, Gap):
            return self._skip(item)
        # Joining only what is left over keeps big blocks from being copied whole.
        outputs: list[DetectorOutput] = []
        samples, first = item.samples, 0
        if len(self._pending):
            first = min(HOP - len(self._pending), len(samples))
            self._pending = np.concatenate([self._pending, samples[:first]])
            if len(self._pending) == HOP:
                outputs += self._hop(self._pending)
                self._pending = self._pending[:0]
        stop = first + (len(samples) - first) // HOP * HOP
        for k in range(first, stop, HOP):
            outputs += self._hop(samples[k : k + HOP])
        if stop < len(samples):
            self._pending = samples[stop:].copy()
        return outputs

    @property
    def hang_over_s(self) -> float:
        """Calm that ends an episode, as things are set."""
        return seconds(self._tracker.rules.hang_over)

    def tune(self, tuning: Tuning) -> None:
        """Start and end episodes as ``tuning`` says from the next hop on."""
        eased = (tuning.sensitivity - NEUTRAL_SENSITIVITY) / NEUTRAL_SENSITIVITY * SENSITIVITY_LOGITS
        rules = self._rules.eased(eased)
        if tuning.hang_over is not None:
            rules = replace(rules, hang_over=tuning.hang_over)
        if rules != self._tracker.rules:
            self._tracker.follow(rules)

    def spare(self, *, cause: bool, verifier: bool) -> None:
        """Go without the cause of a cry, and without the verifier, from the next hop on, to save work.

        Without the verifier the gate decides alone: nothing is missed for it, but more is taken for crying.
        """
        self._cause_spared, self._verifier_spared = cause, verifier

    def flush(self) -> list[DetectorOutput]:
        """End the stream: the last part of a hop is heard, an open episode is closed."""
        outputs = self._hop_rest()
        outputs += self._finish(self._tracker.finish(self._position))
        self._reset()
        return outputs

    def stats(self) -> PipelineStats:
        """A copy of the counters."""
        return replace(self._stats, vad_calls=self._activity.vad_calls)

    def _skip(self, gap: Gap) -> list[DetectorOutput]:
        # An episode outlives a gap shorter than its hang-over: a parent must not be alarmed twice
        # because the Pi was busy for a moment. The models start afresh in any case.
        self._stats.gaps += 1
        outputs = self._hop_rest()
        self._position = gap.stop
        outputs += self._finish(self._tracker.skip(gap.stop))
        self._reset()
        return outputs

    def _hop_rest(self) -> list[DetectorOutput]:
        rest = self._pending
        if not len(rest):
            return []
        self._pending = rest[:0]
        # Filled up with itself: silence would look like a quieter room.
        return self._hop(np.resize(rest, HOP), len(rest))

    def _reset(self) -> None:
        self._activity.reset()
        self._recent.clear()
        self._awake = False
        self._smoother.reset()
        if self._segments is not None:
            self._segments.forget()

    def _hop(self, samples: NDArray[np.int16], length: int = HOP) -> list[DetectorOutput]:
        start, stop = self._position, SampleIndex(self._position + length)
        self._position = stop
        activity = self._activity.process(samples)
        awake = activity.active or self._always_awake or self._tracker.crying
        score = self._listen(samples) if awake else None
        self._recent.append(samples)
        if score is not None:
            score = self._verified(score)
        self._awake = awake
        self._stats.hops += 1
        self._stats.awake_hops += awake
        events = self._tracker.process(Hop(start, stop, 0.0 if score is None else score, activity.level_dbfs))
        outputs: list[DetectorOutput] = [self._report(start, stop, activity, score)]
        if events:
            outputs += self._finish(events)
        if self._segments is not None and self._tracker.crying and not self._cause_spared:
            self._segments.collect()
        return outputs

    def _listen(self, samples: NDArray[np.int16]) -> float:
        """Smoothed score behind this hop; wakes the gate model first if it slept."""
        if not self._awake:
            self._wake()
        return self._score(samples)

    def _wake(self) -> None:
        self._stats.wakings += 1
        self._gate.reset()
        self._smoother.reset()
        hops = list(self._recent)[-PRE_ROLL_HOPS - 1 :]
        # With enough memory the oldest hop serves only as the past of the first window.
        before = hops.pop(0)[-OVERLAP:] if len(hops) > PRE_ROLL_HOPS else None
        self._log_mel.reset(before)
        if self._segments is not None:
            self._segments.forget()
        for hop in hops:
            self._score(hop)

    def _verified(self, score: float) -> float:
        """The gate's score, or behind a suspicion what gate and verifier say together.

        An open episode goes on for as long as the gate hears crying: its start was verified, and a sob
        between two cries must not end it. A stream shorter than a segment is heard behind silence.
        """
        if self._verifier is None or self._verifier_spared:
            return score
        if score < self._suspect_threshold or self._tracker.crying:
            return score
        self._stats.verified_hops += 1
        segment = np.zeros(SEGMENT_SAMPLES, np.int16)
        recent = np.concatenate(self._recent)
        segment[SEGMENT_SAMPLES - len(recent) :] = recent
        return weighed(score, self._verifier.judge(segment).logit, self._verifier_share)

    def _score(self, samples: NDArray[np.int16]) -> float:
        frames = self._log_mel.process(samples)
        if self._segments is not None:
            self._segments.add(frames)
        return self._smoother.process(self._gate.process(frames))

    def _report(
        self, start: SampleIndex, stop: SampleIndex, activity: Activity, score: float | None
    ) -> HopReport:
        return HopReport(
            start=start,
            stop=stop,
            level_dbfs=activity.level_dbfs,
            peak_dbfs=activity.peak_dbfs,
            noise_floor_dbfs=activity.floor_dbfs,
            active=score is not None,
            score=None if score is None else Probability(score),
            crying=self._tracker.crying,
        )

    def _finish(self, events: list[EpisodeStarted | EpisodeUpdated | EpisodeEnded]) -> list[DetectorOutput]:
        """Fill in the cause as far as it is known, and count."""
        outputs: list[DetectorOutput] = []
        for event in events:
            if isinstance(event, EpisodeStarted):
                self._stats.episodes += 1
                if self._segments is not None:
                    self._segments.begin()
                outputs.append(event)
            else:
                outputs.append(replace(event, cause=self._cause()))
        return outputs

    def _cause(self) -> CauseEstimate | None:
        return None if self._segments is None else self._segments.estimate()


class _SegmentCollector:
    """Cuts an episode, its pre-roll included, into segments and classifies each as it fills.

    The frames are those the gate model heard; nothing is computed twice.
    """

    def __init__(self, classifier: CauseClassifier) -> None:
        self._classifier = classifier
        self._frames: deque[NDArray[np.float32]] = deque(maxlen=SEGMENT_FRAMES // HOP_FRAMES)
        self._fresh = 0
        self._posteriors: list[NDArray[np.float64]] = []

    def add(self, frames: NDArray[np.float32]) -> None:
        """Keep one hop's frames, (HOP_FRAMES, N_MELS)."""
        self._frames.append(frames)
        self._fresh += 1

    def forget(self) -> None:
        """The frames to come do not join those before; the episode's answers stay."""
        self._frames.clear()
        self._fresh = 0

    def begin(self) -> None:
        """An episode starts: its first segment takes the pre-roll along."""
        self._posteriors = []
        self._fresh = min(len(self._frames), PRE_ROLL_HOPS)

    def collect(self) -> None:
        """Classify the newest segment of an open episode if it is full."""
        full = SEGMENT_FRAMES // HOP_FRAMES
        if self._fresh >= full and len(self._frames) == full:
            self._fresh = 0
            if len(self._posteriors) < MAX_SEGMENTS:
                self._posteriors.append(self._classifier.log_posterior(np.concatenate(self._frames)))

    def estimate(self) -> CauseEstimate | None:
        """The answer so far; None before the first full segment."""
        return self._classifier.estimate(self._posteriors) if self._posteriors else None
