"""The vocabulary outside the pipeline: versioned JSON messages, the contract with every consumer.

Times are UTC, durations come from the sample clock. A field is never renamed or given another
meaning within a schema version; new ones may be added.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

SCHEMA_VERSION: Final = 1


CLOCK_STEP: Final = timedelta(seconds=2)
"""Two times further apart than the length between them lie on both sides of a step of the system clock."""


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
    """An episode of crying began, goes on, has gone on for another while, or is over."""

    kind: Literal["episode"] = "episode"
    event_type: Literal["started", "updated", "escalated", "ended"]
    episode_id: str
    escalation: int = Field(default=0, ge=0, description="how often it has escalated so far")
    onset_at: UtcTime
    detected_at: UtcTime
    ended_at: UtcTime | None = None
    duration_s: float = Field(ge=0, description="from onset to now, or to the end of the last cry")
    crying_s: float = Field(ge=0, description="of it, time with crying")
    score: float = Field(ge=0, le=1, description="highest smoothed cry probability so far")
    level_dbfs: float
    cause: CauseHint | None = None
    truncated: bool = False

    @property
    def clock_step(self) -> timedelta:
        """How far the system clock was set since the onset; zero where it was not.

        ``onset_at`` is the same in all messages of an episode, by the clock of its first. A Raspberry Pi
        boots with an old time; once that is set, only the length tells when the cry really began.
        """
        step = (self.ended_at or self.time) - timedelta(seconds=self.duration_s) - self.onset_at
        return step if abs(step) > CLOCK_STEP else timedelta()

    @property
    def began_at(self) -> datetime:
        """The onset by the clock as it stands now."""
        return self.onset_at + self.clock_step

    @property
    def known_at(self) -> datetime:
        """The detection by the clock as it stands now."""
        return self.detected_at + self.clock_step


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


class ControlsMessage(Message):
    """What the parents have set, from the hub or elsewhere; it outlives a restart."""

    kind: Literal["controls"] = "controls"
    listening: bool = True
    sensitivity: int = Field(default=50, ge=0, le=100, description="50 is the model's own rule")
    hold_s: float = Field(ge=0.5, le=300, description="quiet that ends an episode")
    quiet_hours: str = Field(default="off", description='"off" or local times "22:00-06:30"')
    muted_until: UtcTime | None = None
    last_rejected: str = Field(default="", description="why the latest refused command was refused")


class AlertMessage(Message):
    """Whether a cry waits for somebody to say that they have heard of it."""

    kind: Literal["alert"] = "alert"
    state: Literal["none", "unacknowledged", "acknowledged"]
    episode_id: str | None = None
    since: UtcTime | None = None
    escalation: int = Field(default=0, ge=0)
    acknowledged_at: UtcTime | None = None
    acknowledged_by: str = Field(default="", description='"hub", "phone" or "command"')


class NightMessage(Message):
    """The night so far. A night lasts from noon to noon, local time."""

    kind: Literal["night"] = "night"
    night: str = Field(description="date of its evening, 2026-11-22")
    episodes: int = Field(ge=0)
    crying_s: float = Field(ge=0)
    longest_calm_s: float = Field(ge=0, description="longest stretch of listening without an episode")
    last_cry_at: UtcTime | None = Field(default=None, description="of any night")


class TestMessage(Message):
    """Somebody, or the daily plan, tries whether alerts arrive."""

    __test__ = False  # pytest shall not take it for one of its own

    kind: Literal["test"] = "test"
    source: Literal["hub", "daily", "command"]


class DeliveryMessage(Message):
    """How direct push fares: the latest outcome, overall and by channel."""

    kind: Literal["delivery"] = "delivery"
    state: Literal["none", "delivered", "retrying", "failed"]
    channels: dict[str, str] = Field(description="by name of the channel: a state or why it fails")
    delivered: int = Field(ge=0)
    failed: int = Field(ge=0)
    waiting: int = Field(ge=0)
    last_delivered_at: UtcTime | None = None


class ConfirmedCauseMessage(Message):
    """A parent has said why the baby cried."""

    kind: Literal["confirmed_cause"] = "confirmed_cause"
    episode_id: str
    cause: Literal["belly_pain", "burping", "discomfort", "hungry", "tired"]
    counts: dict[str, int] = Field(description="how often each cause was confirmed so far")


AnyMessage = (
    EpisodeMessage
    | TelemetryMessage
    | HealthMessage
    | ControlsMessage
    | AlertMessage
    | NightMessage
    | TestMessage
    | DeliveryMessage
    | ConfirmedCauseMessage
)
