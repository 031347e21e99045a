"""The night so far: how often and how long the baby cried, and its longest calm. Main calls it.

A night lasts from noon to noon, local time, and bears the date of its evening. Durations come from the
sample clock or a monotonic one, so a clock that steps moves a cry into another night and bends nothing.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from monitor.messages import EpisodeMessage

NOON: Final = timedelta(hours=12)


class Night(BaseModel):
    """What is kept of a night, also on disk. Times in seconds."""

    model_config = ConfigDict(extra="forbid")

    evening: date
    episodes: int = Field(default=0, ge=0)
    finished_crying_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    longest_calm_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    last_cry_at: AwareDatetime | None = None
    last_episode_id: str | None = None


def evening_of(local: datetime) -> date:
    """Date of the evening to whose night ``local``, a local time, belongs."""
    return (local.replace(tzinfo=None) - NOON).date()


def span_of(evening: date) -> tuple[datetime, datetime]:
    """Begin and end of the night that bears ``evening``, local times; when clocks change it has 23 or 25 h.

    Raises ValueError or OverflowError for a date out of the system's reach.
    """
    noon = datetime.combine(evening, time()) + NOON
    return noon.astimezone(), (noon + timedelta(days=1)).astimezone()


def joined(earlier: Night, later: Night) -> Night:
    """One night made of two parts, of which a disk handed over the first one late."""
    if earlier.evening != later.evening:
        return later
    return Night(
        evening=later.evening,
        episodes=earlier.episodes + later.episodes,
        finished_crying_s=earlier.finished_crying_s + later.finished_crying_s,
        longest_calm_s=max(earlier.longest_calm_s, later.longest_calm_s),
        last_cry_at=later.last_cry_at or earlier.last_cry_at,
        last_episode_id=later.last_episode_id or earlier.last_episode_id,
    )


class NightTally:
    """Adds up. ``local`` times carry their zone; a new night begins with the first look after noon."""

    def __init__(self, night: Night) -> None:
        self.night = night
        self._open_id: str | None = None
        self._open_crying_s = 0.0
        self._calm_s = 0.0
        self._looked_at_s: float | None = None

    @property
    def crying_s(self) -> float:
        """Of the night, the open episode included."""
        return self.night.finished_crying_s + self._open_crying_s

    def observe(self, message: EpisodeMessage) -> None:
        """Count an episode's message; messages come in order."""
        if message.episode_id != self._open_id and message.event_type != "ended":
            self._open_id = self.night.last_episode_id = message.episode_id
            self.night.episodes += 1
            self._end_calm()
        self._open_crying_s = message.crying_s
        self.night.last_cry_at = message.ended_at or message.time
        if message.event_type == "ended":
            self._open_id = None
            self.night.finished_crying_s += self._open_crying_s
            self._open_crying_s = 0.0

    def look(self, local: datetime, now_s: float, *, listening: bool) -> None:
        """Let time pass: ``now_s`` is monotonic. Time in which nobody listens is no calm."""
        evening = evening_of(local)
        if evening != self.night.evening:
            self._turn(evening)
        passed_s = 0.0 if self._looked_at_s is None else now_s - self._looked_at_s
        self._looked_at_s = now_s
        if not listening:
            self._end_calm()
        elif self._open_id is None:
            self._calm_s += passed_s
            self.night.longest_calm_s = max(self.night.longest_calm_s, self._calm_s)

    def _turn(self, evening: date) -> None:
        """Begin the next night; an episode that is open counts with all its crying to this one."""
        self.night = Night(
            evening=evening,
            episodes=int(self._open_id is not None),
            last_cry_at=self.night.last_cry_at,
            last_episode_id=self.night.last_episode_id,
        )
        self._end_calm()

    def _end_calm(self) -> None:
        self._calm_s = 0.0
