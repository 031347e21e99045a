"""The vocabulary outside the pipeline: versioned JSON messages, the contract with every consumer.

Times are UTC, durations come from the sample clock. A field is never renamed or given another
meaning within a schema version; new ones may be added.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

SCHEMA_VERSION: Final = 1


def _iso_utc(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


UtcTime = Annotated[AwareDatetime, PlainSerializer(_iso_utc, return_type=str, when_used="json")]
"""A UTC instant, written as 2026-11-22T03:04:05.678Z."""


class Message(BaseModel):
    """What all messages carry. ``event_id`` is unique; a consumer drops one it has seen."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    event_id: str
    device: str
    time: UtcTime

    def to_json(self) -> str:
        """The message as one line of JSON."""
        return self.model_dump_json(by_alias=True)


class CauseHint(BaseModel):
    """The classifier's answer: a hint, never a diagnosis."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: Literal["belly_pain", "burping", "discomfort", "hungry", "tired", "unsure"]
    probability: float = Field(ge=0, le=1, description="of the likeliest cause")
    base_rate: float = Field(ge=0, le=1, description="of that cause before listening")
    probabilities: dict[str, float]


class EpisodeMessage(Message):
    """An episode of crying began, goes on or is over."""

    kind: Literal["episode"] = "episode"
    event_type: Literal["started", "updated", "ended"]
    episode_id: str
    onset_at: UtcTime
    detected_at: UtcTime
    ended_at: UtcTime | None = None
    duration_s: float = Field(ge=0, description="from onset to now, or to the end of the last cry")
    crying_s: float = Field(ge=0, description="of it, time with crying")
    score: float = Field(ge=0, le=1, description="highest smoothed cry probability so far")
    level_dbfs: float
    cause: CauseHint | None = None
    truncated: bool = False


class TelemetryMessage(Message):
    """Level and score now, at a modest rate. Only the newest matters."""

    kind: Literal["telemetry"] = "telemetry"
    level_dbfs: float
    peak_dbfs: float
    noise_floor_dbfs: float
    score: float = Field(ge=0, le=1)
    active: bool = Field(description="the gate model is awake")
    crying: bool


class HealthMessage(Message):
    """How the monitor itself is."""

    kind: Literal["health"] = "health"
    state: Literal["ok", "degraded", "fault"]
    reasons: list[str]
    microphone_ok: bool
    signal_ok: bool
    uptime_s: float
    version: str
    counters: dict[str, float]


AnyMessage = EpisodeMessage | TelemetryMessage | HealthMessage
