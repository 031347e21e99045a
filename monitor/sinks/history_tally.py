"""From messages to what is remembered: levels per minute, stretches of listening, troubles. No disk."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime
from typing import Final

from monitor.messages import CLOCK_STEP, EpisodeMessage, HealthMessage, TelemetryMessage
from monitor.sinks.history_records import Batch, Episode, Fault, Listening, Minute, closed

_OF_A_SINK: Final = re.compile(r"[a-z_]+: ")
"""How the service begins the reason of a link that does not deliver."""


class LevelTally:
    """Telemetry to minutes and stretches of listening.

    Reports come every few seconds while the monitor listens; when none came for ``gap_s``, it did not.
    """

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._heard_until_s: float | None = None
        self._stretches: list[Listening] = []
        """Since the last move; the last of them goes on."""
        self._minutes: dict[int, Minute] = {}

    def observe(self, message: TelemetryMessage) -> None:
        at_s = message.time.timestamp()
        before_s, self._heard_until_s = self._heard_until_s, at_s
        if before_s is None or not self._stretches or not 0 <= at_s - before_s <= self._gap_s:
            self._stretches.append(Listening(at_s, at_s))
            self._add(_level_minute(message, at_s, 0.0))
            return
        self._stretches[-1] = Listening(self._stretches[-1].begin_s, at_s)
        begin_s = before_s
        while begin_s < at_s:  # a report may be about two minutes, or more when they are rare
            end_s = min(at_s, (begin_s // 60 + 1) * 60)
            self._add(_level_minute(message, begin_s, end_s - begin_s))
            begin_s = end_s

    def add_crying(self, message: EpisodeMessage, at_s: float, crying_s: float) -> None:
        """Crying of which the episode tells; telemetry knows only that an episode is open."""
        level = message.level_dbfs
        self._add(Minute(int(at_s // 60), 0.0, level, level, level, level, level, 0.0, crying_s))

    def pause(self) -> None:
        """Nothing was heard from now on until the next report."""
        self._heard_until_s = None

    def move_to(self, batch: Batch) -> None:
        for minute in self._minutes.values():
            batch.put(minute)
        self._minutes.clear()
        for stretch in self._stretches:
            batch.put(stretch)
        del self._stretches[:-1]

    def _add(self, minute: Minute) -> None:
        before = self._minutes.get(minute.minute)
        self._minutes[minute.minute] = minute if before is None else before.joined(minute)


def _level_minute(message: TelemetryMessage, at_s: float, heard_s: float) -> Minute:
    return Minute(
        minute=int(at_s // 60),
        heard_s=heard_s,
        level_mean_dbfs=message.level_dbfs,
        level_max_dbfs=message.level_dbfs,
        level_min_dbfs=message.level_dbfs,
        peak_dbfs=message.peak_dbfs,
        floor_dbfs=message.noise_floor_dbfs,
        active_share=1.0 if message.active else 0.0,
        crying_s=0.0,
    )


class FaultTally:
    """Health messages to troubles with a begin and an end."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Fault] = {}
        self._before: HealthMessage | None = None

    def observe(self, message: HealthMessage, batch: Batch) -> bool:
        """Put what began or ended into ``batch``; whether anything did."""
        at_s = message.time.timestamp()
        self._follow_clock(message, at_s, batch)
        present = {(_kind(message, reason, self._before), reason) for reason in message.reasons}
        known = {reason: key for key in self._open for reason in [key[1]]}
        # A trouble keeps the kind that it began with.
        present = {known.get(reason, (kind, reason)) for kind, reason in present}
        if not (message.microphone_ok and message.signal_ok) or message.state == "fault":
            present.add(("deaf", ""))
        changed = False
        for key in set(self._open) - present:
            batch.put(closed(self._open.pop(key), at_s))
            changed = True
        for key in present - set(self._open):
            self._open[key] = Fault(at_s, *key, end_s=at_s, open=True)
            batch.put(self._open[key])
            changed = True
        changed = self._note_loss(message, at_s, batch) or changed
        self._before = message
        return changed

    def _follow_clock(self, message: HealthMessage, at_s: float, batch: Batch) -> None:
        """Cut what is open in two where the clock was set: none lasts as long as the clock was wrong."""
        if self._before is None:
            return
        passed_s = message.uptime_s - self._before.uptime_s
        before_step_s = self._before.time.timestamp() + passed_s
        if passed_s < 0 or abs(at_s - before_step_s) <= CLOCK_STEP.total_seconds():
            return
        for key, fault in self._open.items():
            batch.put(closed(fault, before_step_s))
            self._open[key] = replace(fault, begin_s=at_s, end_s=at_s)
            batch.put(self._open[key])

    def keep(self, at_s: float, batch: Batch) -> None:
        """Note that what is open still is at ``at_s``: a kill must not hide how long it lasted."""
        for key, fault in self._open.items():
            self._open[key] = replace(fault, end_s=max(fault.end_s, at_s))
            batch.put(self._open[key])

    def end(self, at_s: float, batch: Batch) -> None:
        for fault in self._open.values():
            batch.put(closed(fault, at_s))
        self._open.clear()

    def _note_loss(self, message: HealthMessage, at_s: float, batch: Batch) -> bool:
        """Audio that was lost since the health message before; the counters say how much."""
        if self._before is None:
            return False
        lost_s = message.counters.get("audio_lost_s", 0.0) - self._before.counters.get("audio_lost_s", 0.0)
        if not lost_s > 0 or not math.isfinite(lost_s):
            return False
        reason = f"{lost_s:.1f} s of audio were lost."
        batch.put(Fault(at_s - lost_s, "audio_lost", reason, at_s, open=False))
        return True


def _kind(message: HealthMessage, reason: str, before: HealthMessage | None) -> str:
    """What a reason is about: the microphone's when the microphone has just failed with it, and so on."""
    new = before is None or reason not in before.reasons
    if _OF_A_SINK.match(reason):
        return "link"
    if new and not message.microphone_ok and (before is None or before.microphone_ok):
        return "microphone"
    if new and not message.signal_ok and (before is None or before.signal_ok):
        return "signal"
    return "other"


def episode_record(message: EpisodeMessage, before: Episode | None) -> Episode:
    """What is known of an episode with ``message``, its latest; ``before`` has what parents said of it."""
    cause = message.cause
    until: datetime = message.ended_at or message.time
    return Episode(
        id=message.episode_id,
        onset_s=message.began_at.timestamp(),
        detected_s=message.known_at.timestamp(),
        until_s=until.timestamp(),
        ended=message.event_type == "ended",
        duration_s=message.duration_s,
        crying_s=message.crying_s,
        score=message.score,
        level_dbfs=message.level_dbfs,
        escalation=message.escalation,
        truncated=message.truncated,
        cause=None if cause is None else cause.answer,
        cause_probability=None if cause is None else cause.probability,
        cause_base_rate=None if cause is None else cause.base_rate,
        acknowledged_s=None if before is None else before.acknowledged_s,
        acknowledged_by="" if before is None else before.acknowledged_by,
        confirmed_cause=None if before is None else before.confirmed_cause,
    )
