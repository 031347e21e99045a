"""What the detector goes without when the machine is too slow, in which order. Pure: time comes in.

The gate, which raises the alarm, is never given up. First goes what only explains a cry, then what only shows
the room, last what only keeps cats and songs from being taken for a cry.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Shed(IntEnum):
    """How much is given up; each step includes those before it."""

    NOTHING = 0
    CAUSE = 1
    """No likely cause is estimated."""
    LEVELS = 2
    """Level and score are not reported."""
    VERIFIER = 3
    """The gate decides alone: more false alarms."""

    @property
    def words(self) -> str:
        """What is given up, for a person."""
        names = {
            Shed.CAUSE: "the likely cause",
            Shed.LEVELS: "level reports",
            Shed.VERIFIER: "the second opinion against false alarms",
        }
        given_up = [name for step, name in names.items() if step <= self]
        return " and ".join(filter(None, [", ".join(given_up[:-1]), *given_up[-1:]]))


LATE_S: Final = 1.5
"""Audio that waits for the detector from which on something is given up: six hops."""
NEXT_AFTER_S: Final = 2.0
"""For a step to show its effect before the next one is taken."""
CAUGHT_UP_S: Final = 1.0
"""A block and the jitter of a busy machine; what waits for longer is a lag."""
FIRST_PATIENCE_S: Final = 30.0
LAST_PATIENCE_S: Final = 960.0


class LoadShedder:
    """Decides from how far the detector is behind.

    Taken back is one step at a time, behind a while without lag that doubles whenever taking one back
    brought the lag again: a machine that is always too slow must not swing to and fro all night.
    """

    def __init__(self) -> None:
        self.shed = Shed.NOTHING
        self._changed_at_s: float | None = None
        self._calm_since_s: float | None = None
        self._patience_s = FIRST_PATIENCE_S
        self._took_back = False

    def observe(self, now_s: float, lag_s: float) -> Shed:
        """What to give up at ``now_s`` of a monotonic clock, when ``lag_s`` of audio waits."""
        if lag_s > CAUGHT_UP_S:
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now_s
        if lag_s > LATE_S:
            self._give_up(now_s)
        elif self._calm_since_s is not None and now_s - self._calm_since_s >= self._patience_s:
            self._take_back(now_s)
        return self.shed

    def _give_up(self, now_s: float) -> None:
        if self.shed is Shed.VERIFIER:
            return
        if self._changed_at_s is not None and now_s - self._changed_at_s < NEXT_AFTER_S:
            return
        if self._took_back:
            self._patience_s = min(2 * self._patience_s, LAST_PATIENCE_S)
            self._took_back = False
        self.shed = Shed(self.shed + 1)
        self._changed_at_s = now_s

    def _take_back(self, now_s: float) -> None:
        if self.shed is Shed.NOTHING:
            self._patience_s, self._took_back = FIRST_PATIENCE_S, False
            return
        self.shed = Shed(self.shed - 1)
        self._changed_at_s = self._calm_since_s = now_s
        self._took_back = True
