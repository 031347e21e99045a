"""Requests on their way to main: a bounded box that any thread may fill, and how many are let through."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog
from typing_extensions import override

from monitor.commands import Inbox, Request

log = structlog.get_logger(__name__)

CAPACITY: Final = 64


class RequestBox(Inbox):
    """Keeps requests until main takes them."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._wake: Callable[[], None] | None = None
        self._requests: queue.Queue[Request] = queue.Queue(capacity)
        self._lock = threading.Lock()
        self._dropped = 0

    @override
    def put(self, request: Request) -> None:
        try:
            self._requests.put_nowait(request)
        except queue.Full:
            with self._lock:
                self._dropped += 1
                first = self._dropped == 1
            if first:
                log.warning("requests.flood", control=request.control, origin=request.origin)
            return
        if self._wake is not None:
            self._wake()

    def serve(self, wake: Callable[[], None]) -> None:
        """From now on ``wake`` is called behind each request, on the thread that put it."""
        self._wake = wake

    def take(self) -> list[Request]:
        """All that wait, oldest first."""
        found = []
        while True:
            try:
                found.append(self._requests.get_nowait())
            except queue.Empty:
                return found

    @property
    def dropped(self) -> int:
        """Requests that found the box full."""
        with self._lock:
            return self._dropped


class RateLimit:
    """Lets ``burst`` through at once and ``per_s`` a second for good (a token bucket)."""

    def __init__(self, burst: int, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._tokens = float(burst)
        self._at_s: float | None = None

    def admits(self, now_s: float) -> bool:
        """Whether one more may pass at ``now_s`` of a monotonic clock."""
        if self._at_s is not None:
            self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class FairLimit:
    """A rate limit for each of ``names`` and one for whatever else: a flood locks out its own kind alone.

    ``special`` are the names with a limit of another size.
    """

    def __init__(
        self, names: Iterable[str], burst: int, per_s: float, special: Mapping[str, RateLimit] | None = None
    ) -> None:
        self._others = RateLimit(burst, per_s)
        self._limits = {name: RateLimit(burst, per_s) for name in names} | dict(special or {})

    def admits(self, name: str, now_s: float) -> bool:
        """Whether one more called ``name`` may pass at ``now_s`` of a monotonic clock."""
        return self._limits.get(name, self._others).admits(now_s)
