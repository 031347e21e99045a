"""Whether the clock on the wall can be trusted with something that cannot be undone, such as deleting by age.

A Raspberry Pi boots with a wrong time and jumps to the right one; a file that is as old as the jump is long
must not be taken for a file of last year.
"""

from __future__ import annotations

from typing import Final

from monitor.sinks.moment import Moment

TRUSTED_AFTER_S: Final = 3600.0
_STEP_S: Final = 60.0
"""A larger step between wall and boot clock is no slewing any more."""


class SteadyClock:
    """Watches the two clocks against each other."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._since_s = 0.0

    def is_steady(self, now: Moment) -> bool:
        """Whether the wall clock has run without a step for an hour that we watched."""
        offset_s = now.utc_s - now.since_boot_s
        if self._offset_s is None or abs(offset_s - self._offset_s) > _STEP_S:
            self._offset_s, self._since_s = offset_s, now.since_boot_s
        return now.since_boot_s - self._since_s >= TRUSTED_AFTER_S
