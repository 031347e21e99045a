"""What the parents have set, and what they may set it to. Pure: time comes in."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from monitor.commands import HOLD, MAX_PAYLOAD, MUTE_OPTIONS, QUIET_HOURS_PATTERN, SENSITIVITY, Control, Range
from monitor.detect.settings import NEUTRAL_SENSITIVITY, Tuning
from monitor.errors import RequestError
from monitor.service.detector import Orders

LONGEST_MUTE: Final = timedelta(hours=24)


class Settings(BaseModel):
    """What was set by hand, as it stands on disk. ``hold_s`` None: as the configuration says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listening: bool = True
    sensitivity: int = Field(default=NEUTRAL_SENSITIVITY, ge=SENSITIVITY.low, le=SENSITIVITY.high)
    hold_s: float | None = Field(default=None, ge=HOLD.low, le=HOLD.high, allow_inf_nan=False)
    quiet_hours: str = Field(default="off", pattern=QUIET_HOURS_PATTERN)
    muted_until: AwareDatetime | None = None

    @property
    def orders(self) -> Orders:
        """What of it concerns the detector."""
        return Orders(self.listening, Tuning(self.sensitivity, self.hold_s))


class MuteEnd:
    """When a mute is over, also where the clock on the wall is set back meanwhile."""

    def __init__(self) -> None:
        self._until: datetime | None = None
        self._ends_at_s = 0.0

    def is_reached(self, until: datetime | None, utc: datetime, now_s: float) -> bool:
        """Whether the mute until ``until`` is over at ``utc``; ``now_s`` is monotonic. To be asked often."""
        left_s = 0.0 if until is None else (until - utc).total_seconds()
        if until != self._until:
            self._until, self._ends_at_s = until, now_s + left_s
        # Nobody can have asked for more than the longest: it was set by a clock that was wrong.
        over = left_s <= 0 or left_s > LONGEST_MUTE.total_seconds() or now_s >= self._ends_at_s
        return until is not None and over


SETTABLE: Final = frozenset(
    {Control.LISTENING, Control.SENSITIVITY, Control.HOLD, Control.QUIET_HOURS, Control.MUTE}
)


def changed(settings: Settings, control: Control, text: str, now: datetime) -> Settings:
    """``settings`` after a parent set ``control`` to ``text``. Raises RequestError."""
    match control:
        case Control.LISTENING:
            return settings.model_copy(update={"listening": _switch(text)})
        case Control.SENSITIVITY:
            return settings.model_copy(update={"sensitivity": round(_number(control, text, SENSITIVITY))})
        case Control.HOLD:
            return settings.model_copy(update={"hold_s": _number(control, text, HOLD)})
        case Control.QUIET_HOURS:
            return settings.model_copy(update={"quiet_hours": _quiet_hours(text)})
        case Control.MUTE:
            return settings.model_copy(update={"muted_until": _mute(text, now)})
        case _:
            raise AssertionError(f"{control} is no setting")


def payload_text(control: str, payload: bytes) -> str:
    """What was sent, as text. Raises RequestError for what no control takes."""
    if len(payload) > MAX_PAYLOAD:
        raise RequestError(f"{control}: {len(payload)} bytes were sent.", f"Send at most {MAX_PAYLOAD}.")
    try:
        return payload.decode().strip()
    except UnicodeDecodeError as error:
        raise RequestError(f"{control}: what was sent is not text.", "Send UTF-8.") from error


def _switch(text: str) -> bool:
    if text not in {"ON", "OFF"}:
        raise RequestError(f"listening: {text!r} is neither of the two.", "Send ON or OFF.")
    return text == "ON"


def _number(control: Control, text: str, allowed: Range) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not allowed.low <= value <= allowed.high:  # also false for what is no number
        raise RequestError(
            f"{control.value}: {text!r} is not allowed.",
            f"Send a number from {allowed.low:g} to {allowed.high:g} {allowed.unit}.",
        )
    return value


def _quiet_hours(text: str) -> str:
    times = text.split("-")
    if re.fullmatch(QUIET_HOURS_PATTERN, text) is None or (len(times) == 2 and times[0] == times[1]):
        raise RequestError(
            f"quiet_hours: {text!r} is no span of time.", 'Send "off" or two local times, "22:00-06:30".'
        )
    return text


def _mute(text: str, now: datetime) -> datetime | None:
    if text in MUTE_OPTIONS:
        minutes = MUTE_OPTIONS[text]
        return now + timedelta(minutes=minutes) if minutes else None
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        until = None
    if until is None or until.tzinfo is None or not now < until <= now + LONGEST_MUTE:
        raise RequestError(
            f"mute: {text!r} is not allowed.",
            f"Send one of {', '.join(MUTE_OPTIONS)}, or a time with its zone within the next 24 hours.",
        )
    return until.astimezone(UTC)
