"""Whether time passes as it should: audio by the monotonic clock, and that by the wall clock. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from monitor.capture.source import SourceState, SourceStats
from monitor.types import seconds

MEASURED_OVER_S: Final = 8.0
SETTLED_AFTER_S: Final = 4.0
"""A sound daemon begins with what it had stored."""
TOLERANCE: Final = 0.08
"""Far more than a bad clock (0.0005) or a block more or less; far less than a mistaken rate (8 to 16 kHz)."""
STEP_S: Final = 2.0
"""A wall clock that moves by more than this between two looks was set; what NTP corrects is less."""
NOT_BEFORE_S: Final = 1_767_225_600.0
"""2026-01-01, UTC: a clock that shows less has never been set. A Pi has none that runs while it is off."""


class RateWatch:
    """Measures how many seconds of audio come in a second: a device may run at another rate than it says."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()
        self._restarts = -1
        self.rate = 1.0
        """1 while nothing else is known."""

    def observe(self, now_s: float, source: SourceStats) -> None:
        """Take note of the counters at ``now_s`` of a monotonic clock; call about once a second."""
        if source.state is not SourceState.RUNNING or source.restarts != self._restarts:
            self._restarts = source.restarts
            self._marks = deque([(now_s + SETTLED_AFTER_S, -1.0)])
            self.rate = 1.0
            return
        if self._marks[0][1] < 0:
            if now_s < self._marks[0][0]:
                return
            self._marks.clear()
        arrived_s = seconds(source.samples + source.lost_samples) + source.waiting_s
        self._marks.append((now_s, arrived_s))
        while len(self._marks) > 2 and now_s - self._marks[1][0] >= MEASURED_OVER_S:
            self._marks.popleft()
        first_s, first_arrived_s = self._marks[0]
        if now_s - first_s >= MEASURED_OVER_S:
            self.rate = (arrived_s - first_arrived_s) / (now_s - first_s)

    @property
    def wrong(self) -> bool:
        return abs(self.rate - 1.0) > TOLERANCE


class ClockWatch:
    """Sees the wall clock jump."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self.jumped_at_s: float | None = None
        """Monotonic; None while it never did."""
        self.jump_s = 0.0
        self.unset = False

    def observe(self, now_s: float, utc_s: float) -> None:
        """Take note of both clocks, read at one instant; call about once a second."""
        offset_s, before_s = utc_s - now_s, self._offset_s
        self._offset_s = offset_s
        self.unset = utc_s < NOT_BEFORE_S
        if before_s is not None and abs(offset_s - before_s) > STEP_S:
            self.jumped_at_s, self.jump_s = now_s, offset_s - before_s
