"""The demonstration's judgement: what happened, what was detected, what arrived.

Pure functions of the ground truth, the detector's outputs and the subscriber's messages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monitor.demo.hub import Received
from monitor.messages import EpisodeMessage
from monitor.types import CauseEstimate, DetectorOutput, EpisodeEnded, EpisodeStarted, seconds

EARLY_S: Final = 1.0
"""An episode may begin this much before the true onset: the gate looks at whole hops."""

LATE_S: Final = 3.0
"""An episode first noticed this long after the end of a bout is a false alarm."""


@dataclass(frozen=True, slots=True)
class Span:
    """Something that happens in the recording, in stream time."""

    kind: str
    onset_s: float
    offset_s: float


@dataclass(frozen=True, slots=True)
class Truth:
    duration_s: float
    spans: tuple[Span, ...]
    """Bouts and distractors, in order; not the single cries of a bout."""

    @property
    def bouts(self) -> tuple[Span, ...]:
        return tuple(span for span in self.spans if span.kind == "cry_bout")

    def at(self, time_s: float) -> str:
        """What is heard then; empty for the quiet room."""
        return next((span.kind for span in self.spans if span.onset_s <= time_s < span.offset_s), "")


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode as the detector and the subscriber saw it, in stream time."""

    number: int
    onset_s: float
    detected_s: float
    ended_s: float | None
    score: float
    cause: CauseEstimate | None
    start_arrived_s: float | None
    """Stream time at which the start reached the subscriber; says something in real time only."""
    end_arrived: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the summary: a true bout with its episode, or one of the two alone."""

    bout: Span | None
    episode: Episode | None

    @property
    def detection_delay_s(self) -> float | None:
        """True onset to detection, in stream time."""
        if self.bout is None or self.episode is None:
            return None
        return self.episode.detected_s - self.bout.onset_s

    @property
    def arrival_delay_s(self) -> float | None:
        """True onset to the message at the subscriber, by the wall clock."""
        if self.bout is None or self.episode is None or self.episode.start_arrived_s is None:
            return None
        return self.episode.start_arrived_s - self.bout.onset_s


@dataclass(frozen=True, slots=True)
class Verdict:
    rows: tuple[Row, ...]
    faults: tuple[str, ...]
    """Why the demonstration failed, for a person; empty when all is well."""

    @property
    def is_good(self) -> bool:
        return not self.faults


def load_truth(path: Path) -> Truth:
    """Read the ground truth beside a recording."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    spans = (
        Span(one["kind"], one["onset_s"], one["offset_s"])
        for one in content["happenings"]
        if one["kind"] != "cry"
    )
    return Truth(content["duration_s"], tuple(spans))


def episodes(
    outputs: Sequence[DetectorOutput],
    sent: Sequence[EpisodeMessage],
    received: Sequence[Received],
    origin_s: float,
) -> list[Episode]:
    """Join the detector's episodes, the messages made of them and what the subscriber received.

    ``outputs`` and ``sent`` come from one thread and are in step; ``sent`` and ``received`` share
    event ids. ``origin_s``: time.monotonic() at which the stream began.
    """
    ended = {one.number: one for one in outputs if isinstance(one, EpisodeEnded)}
    starts = [one for one in outputs if isinstance(one, EpisodeStarted)]
    messages = [one for one in sent if one.event_type == "started"]
    ends_sent = {one.episode_id: one.event_id for one in sent if one.event_type == "ended"}
    arrived = _arrivals(received)
    joined = []
    for start, message in zip(starts, messages, strict=True):
        end = ended.get(start.number)
        at_s = arrived.get(message.event_id)
        joined.append(
            Episode(
                number=start.number,
                onset_s=seconds(start.onset),
                detected_s=seconds(start.detected),
                ended_s=None if end is None else seconds(end.offset),
                score=start.score if end is None else end.score,
                cause=None if end is None else end.cause,
                start_arrived_s=None if at_s is None else at_s - origin_s,
                end_arrived=ends_sent.get(message.episode_id) in arrived,
            )
        )
    return joined


def judge(truth: Truth, seen: Sequence[Episode]) -> Verdict:
    """Match episodes to bouts, earliest first, and name every fault."""
    rows: list[Row] = []
    faults: list[str] = []
    left = list(seen)
    for bout in truth.bouts:
        hits = [one for one in left if _belongs(one, bout)]
        left = [one for one in left if one not in hits]
        rows.append(Row(bout, hits[0] if hits else None))
        rows.extend(Row(bout, one) for one in hits[1:])
        if not hits:
            faults.append(f"the cry at {clock(bout.onset_s)} was missed")
    for alarm in left:
        rows.append(Row(None, alarm))
        heard = truth.at(alarm.onset_s) or "a quiet room"
        faults.append(f"a false alarm at {clock(alarm.onset_s)} ({heard})")
    for one in seen:
        if one.start_arrived_s is None:
            faults.append(f"the start of episode {one.number} did not reach the subscriber")
        if not one.end_arrived:
            faults.append(f"the end of episode {one.number} did not reach the subscriber")
    rows.sort(key=lambda row: row.bout.onset_s if row.episode is None and row.bout else _onset(row))
    return Verdict(tuple(rows), tuple(faults))


def clock(time_s: float) -> str:
    """Stream time as 01:02.3."""
    tenths = round(time_s * 10)
    return f"{tenths // 600:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _arrivals(received: Sequence[Received]) -> dict[str | None, float]:
    """When each event id first arrived; one event may come on several topics."""
    first: dict[str | None, float] = {}
    for message in received:
        episode = message.episode()
        if episode is not None:
            first.setdefault(episode.event_id, message.at_s)
    return first


def _belongs(episode: Episode, bout: Span) -> bool:
    return bout.onset_s - EARLY_S <= episode.onset_s and episode.detected_s <= bout.offset_s + LATE_S


def _onset(row: Row) -> float:
    assert row.episode is not None, "a row has a bout or an episode"
    return row.episode.onset_s
