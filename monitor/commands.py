"""What may be asked of a running monitor: names, ranges and the way in.

A sink or a listener that hears a request puts it into the :class:`Inbox` as it came; the service validates,
limits, applies, stores and publishes (``monitor.service.controls``). Nobody else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Protocol


class Control(StrEnum):
    """Names of the requests, as they stand in topics (``…/set/listening``)."""

    LISTENING = "listening"
    """``ON`` or ``OFF``."""
    SENSITIVITY = "sensitivity"
    """A whole number, see :data:`SENSITIVITY`."""
    HOLD = "hold"
    """Seconds, see :data:`HOLD`."""
    QUIET_HOURS = "quiet_hours"
    """``off`` or ``22:00-06:30``."""
    MUTE = "mute"
    """One of :data:`MUTE_OPTIONS`, or an ISO 8601 time with a zone until which to be mute."""
    ACKNOWLEDGE = "acknowledge"
    """``PRESS``, or the id of the episode that is acknowledged."""
    TEST_ALERT = "test_alert"
    """``PRESS``."""
    RESTART = "restart"
    """``PRESS``."""
    CONFIRM_CAUSE = "confirm_cause"
    """One of :data:`CAUSE_OPTIONS`; it is about the latest episode."""


@dataclass(frozen=True, slots=True)
class Range:
    low: float
    high: float
    step: float
    unit: str


SENSITIVITY: Final = Range(0, 100, 5, "%")
HOLD: Final = Range(1, 300, 0.5, "s")

MUTE_OPTIONS: Final[dict[str, int]] = {
    "off": 0,
    "15 min": 15,
    "30 min": 30,
    "1 h": 60,
    "2 h": 120,
    "8 h": 480,
}
"""What a parent may choose, and for how many minutes."""

CAUSE_OPTIONS: Final = ("belly_pain", "burping", "discomfort", "hungry", "tired")

QUIET_HOURS_PATTERN: Final = r"^(off|([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9])$"

PRESS: Final = "PRESS"
"""What a button sends."""

MAX_PAYLOAD: Final = 64
"""Bytes; nothing that may be asked is longer."""

Origin = Literal["hub", "phone", "command"]


@dataclass(frozen=True, slots=True)
class Request:
    """Something asked of us, not yet looked at. ``control`` need not be a :class:`Control`."""

    control: str
    payload: bytes
    origin: Origin


class Inbox(Protocol):
    """Takes requests from any thread; never waits. In a flood the newest are dropped and counted."""

    def put(self, request: Request) -> None: ...
