"""How long to wait before the next try to connect. Pure: what happened comes in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

DROPPED_MAX_S: Final = 60.0
"""Longest pause where the broker lets us in and drops us: each return only flaps the hub's states."""


def _somewhat_less() -> float:
    return random.uniform(0.75, 1.0)


class BackOff:
    """Doubles the pause with each try that led to no link that held.

    ``jitter`` makes many monitors come back at different times; a factor of at most 1.
    """

    def __init__(self, first_s: float, last_s: float, jitter: Callable[[], float] = _somewhat_less) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._jitter = jitter
        self._next_s = first_s
        self._accepted = False

    def pause_s(self) -> float:
        """Before the next try."""
        last_s = max(self._last_s, DROPPED_MAX_S) if self._accepted else self._last_s
        pause_s = min(self._next_s, last_s)
        self._next_s = 2 * pause_s
        self._accepted = False
        return self._jitter() * pause_s

    def dropped(self, *, held: bool) -> None:
        """The broker had let us in and the link is gone; ``held``: it stood long enough to be called one."""
        self._accepted = not held
        if held:
            self._next_s = self._first_s
