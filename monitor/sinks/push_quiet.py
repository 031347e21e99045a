"""When parents want to be left alone: quiet hours and mute, on clocks that may be set meanwhile."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from monitor.messages import ControlsMessage
from monitor.sinks.push_notes import Now, Urgency

LONGEST_MUTE_S: Final = 24 * 3600.0


@dataclass(slots=True)
class QuietTimes:
    """What the parents have set, as far as it is known. Time comes in."""

    _controls: ControlsMessage | None = None
    _muted_until_s: float | None = None

    @property
    def is_known(self) -> bool:
        return self._controls is not None

    def set(self, controls: ControlsMessage, now: Now) -> None:
        before, self._controls = self._controls, controls
        until = controls.muted_until
        if until is None:
            self._muted_until_s = None
        elif before is None or before.muted_until != until:
            left_s = (until - now.local).total_seconds()
            self._muted_until_s = now.monotonic_s + min(left_s, LONGEST_MUTE_S)

    def may_send(self, urgency: Urgency, now: Now) -> bool:
        quiet = self._controls is not None and is_within(now.local.time(), self._controls.quiet_hours)
        return urgency is Urgency.URGENT or not quiet

    def may_alarm(self, urgency: Urgency, now: Now) -> bool:
        """Of crying, which can be muted as well."""
        return self.may_send(urgency, now) and not self._is_muted(now)

    def _is_muted(self, now: Now) -> bool:
        until = None if self._controls is None else self._controls.muted_until
        if until is None or self._muted_until_s is None:
            return False
        # On both clocks: one that is set back must not make it longer than was asked for.
        return now.local < until and now.monotonic_s < self._muted_until_s


def is_within(time: dt.time, hours: str) -> bool:
    """Whether ``hours`` ("22:00-06:30", across midnight, or "off") hold ``time``."""
    if hours == "off":
        return False
    start, stop = (dt.time.fromisoformat(part) for part in hours.split("-"))
    if start <= stop:
        return start <= time < stop
    return time >= start or time < stop
