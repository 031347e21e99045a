"""From what the detector says to the messages that leave the house's door.

One thread calls it, the detector's.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from monitor.events.clock import StreamClock
from monitor.messages import CauseHint, EpisodeMessage, TelemetryMessage
from monitor.types import (
    SILENCE_DBFS,
    Cause,
    CauseEstimate,
    Dbfs,
    DetectorOutput,
    EpisodeEnded,
    EpisodeStarted,
    EpisodeUpdated,
    HopReport,
    SampleIndex,
    samples,
    seconds,
)


def _random_id() -> str:
    return str(uuid.uuid4())


@dataclass(slots=True)
class _OpenEpisode:
    """Identity and times stay the same in all messages of an episode, also across a step of the clock."""

    episode_id: str
    onset_at: datetime
    detected_at: datetime
    escalation: int = 0


class MessageAssembler:
    """Gives detector outputs their identity and their place in UTC.

    Telemetry is thinned by stream time: one message per ``calm_every_s``, or per ``active_every_s``
    while the gate is awake or a baby cries. Its peak is the highest since the message before.
    An update escalates whenever the episode's crying has grown by another ``escalate_every_s``.
    ``new_id`` makes event and episode ids; each call must give another.
    """

    def __init__(
        self,
        device: str,
        clock: StreamClock,
        *,
        calm_every_s: float = 10.0,
        active_every_s: float = 1.0,
        escalate_every_s: float = 60.0,
        new_id: Callable[[], str] = _random_id,
    ) -> None:
        self._device = device
        self._clock = clock
        self._calm_every = samples(calm_every_s)
        self._active_every = samples(active_every_s)
        self._escalate_every_s = escalate_every_s
        self._new_id = new_id
        self._open: dict[int, _OpenEpisode] = {}
        self._telemetry_sent_at: SampleIndex | None = None
        self._peak_dbfs = SILENCE_DBFS

    def assemble(self, output: DetectorOutput) -> EpisodeMessage | TelemetryMessage | None:
        """The message for ``output``; None for a report that the telemetry rate leaves out.

        Raises ValueError for a number that is none: it must not reach JSON, and it means that a
        stage before us is broken.
        """
        match output:
            case HopReport():
                return self._telemetry(output)
            case EpisodeStarted():
                return self._started(output)
            case EpisodeUpdated():
                return self._updated(output)
            case EpisodeEnded():
                return self._ended(output)

    def _telemetry(self, report: HopReport) -> TelemetryMessage | None:
        self._peak_dbfs = max(self._peak_dbfs, _level(report.peak_dbfs))
        every = self._active_every if report.active or report.crying else self._calm_every
        last = self._telemetry_sent_at
        # A smaller index than before is a new stream: report at once.
        if last is not None and 0 <= report.stop - last < every:
            return None
        message = TelemetryMessage(
            event_id=self._new_id(),
            device=self._device,
            time=self._clock.utc_of(report.stop),
            level_dbfs=_level(report.level_dbfs),
            peak_dbfs=self._peak_dbfs,
            noise_floor_dbfs=_level(report.noise_floor_dbfs),
            score=0.0 if report.score is None else _share(report.score),
            active=report.active,
            crying=report.crying,
        )
        self._telemetry_sent_at = report.stop
        self._peak_dbfs = SILENCE_DBFS
        return message

    def _started(self, output: EpisodeStarted) -> EpisodeMessage:
        self._open[output.number] = _OpenEpisode(
            episode_id=self._new_id(),
            onset_at=self._clock.utc_of(output.onset),
            detected_at=self._clock.utc_of(output.detected),
        )
        # Up to the moment of detection everything since the onset counts as crying.
        crying_s = seconds(output.detected - output.onset)
        return self._episode(output, "started", output.detected, crying_s=crying_s)

    def _updated(self, output: EpisodeUpdated) -> EpisodeMessage:
        episode = self._open_episode(output.number, "updated")
        reached = int(_number(output.crying_s) // self._escalate_every_s)
        escalated = reached > episode.escalation
        episode.escalation = max(reached, episode.escalation)
        kind: Literal["escalated", "updated"] = "escalated" if escalated else "updated"
        return self._episode(output, kind, output.at, crying_s=output.crying_s, cause=output.cause)

    def _ended(self, output: EpisodeEnded) -> EpisodeMessage:
        message = self._episode(
            output,
            "ended",
            output.at,
            until=output.offset,
            crying_s=output.crying_s,
            cause=output.cause,
            truncated=output.truncated,
        )
        del self._open[output.number]
        return message

    def _episode(
        self,
        output: EpisodeStarted | EpisodeUpdated | EpisodeEnded,
        event_type: Literal["started", "updated", "escalated", "ended"],
        at: SampleIndex,
        *,
        crying_s: float,
        until: SampleIndex | None = None,
        cause: CauseEstimate | None = None,
        truncated: bool = False,
    ) -> EpisodeMessage:
        episode = self._open_episode(output.number, event_type)
        return EpisodeMessage(
            event_id=self._new_id(),
            device=self._device,
            time=self._clock.utc_of(at),
            event_type=event_type,
            episode_id=episode.episode_id,
            escalation=episode.escalation,
            onset_at=episode.onset_at,
            detected_at=episode.detected_at,
            ended_at=None if until is None else self._clock.utc_of(until),
            duration_s=round(seconds((at if until is None else until) - output.onset), 3),
            crying_s=round(_number(crying_s), 3),
            score=_share(output.score),
            level_dbfs=_level(output.level_dbfs),
            cause=None if cause is None else _hint(cause),
            truncated=truncated,
        )

    def _open_episode(self, number: int, event_type: str) -> _OpenEpisode:
        assert number in self._open, f"episode {number} {event_type} without a start"
        return self._open[number]


def _hint(estimate: CauseEstimate) -> CauseHint:
    likeliest = max(estimate.probabilities, key=lambda cause: estimate.probabilities[cause])
    answer: Cause = estimate.answer
    shown = likeliest if answer is Cause.UNSURE else answer
    return CauseHint(
        answer=answer.value,
        probability=_share(estimate.probabilities[shown]),
        base_rate=_share(estimate.priors[shown]),
        probabilities={cause.value: _share(p) for cause, p in estimate.probabilities.items()},
    )


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"The detector reported {value} where a number belongs.")
    return float(value)


def _share(value: float) -> float:
    """A probability with the digits that mean something."""
    return round(_number(value), 4)


def _level(value: Dbfs) -> Dbfs:
    """Digital silence is -inf dB; JSON has no such number."""
    return SILENCE_DBFS if value == -math.inf else Dbfs(round(_number(value), 2))
