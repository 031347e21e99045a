"""Named threads that report their failure, and one deadline for everything that has to stop.

Main owns the :class:`Threads`; any thread may ask it to stop.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended a thread that should have gone on."""

    thread: str
    error: BaseException


class Deadline:
    """A point in time that several waits share."""

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock() + timeout_s
        self.length_s = timeout_s

    def left_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self._at - self._clock())


class Threads:
    """The service's threads, and what main sleeps on. The first failure is kept and wakes main."""

    def __init__(self) -> None:
        # Not an Event: a signal handler that sets one while main is about to wait for it locks up.
        # A SimpleQueue's put is reentrant.
        self._wakings: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._failure: Failure | None = None

    def start(self, name: str, target: Callable[[], None], *, awaited: bool = True) -> threading.Thread:
        """Run ``target`` in a thread called ``name``; ``join`` waits for it if it is ``awaited``."""
        # Daemonic: a thread that is stuck in a library must not keep a stopped process alive.
        thread = threading.Thread(target=self._guard, args=(name, target), name=name, daemon=True)
        thread.start()
        if awaited:
            self._threads.append(thread)
        return thread

    def wake(self) -> None:
        """Let main come round. Any thread, and signal handlers."""
        self._wakings.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Main sleeps here; whether it was woken before ``timeout_s`` had passed."""
        try:
            self._wakings.get(timeout=timeout_s)
        except queue.Empty:
            return False
        return True

    @property
    def failure(self) -> Failure | None:
        with self._lock:
            return self._failure

    def report(self, failure: Failure) -> None:
        """Hand a failure to main. Any thread may call it."""
        log.error("thread.failed", failed=failure.thread, error=str(failure.error), exc_info=failure.error)
        with self._lock:
            if self._failure is None:
                self._failure = failure
        self.wake()

    def join(self, deadline: Deadline) -> list[str]:
        """Wait for all threads until the one deadline; the names of those still alive."""
        return join_all(self._threads, deadline)

    def _guard(self, name: str, target: Callable[[], None]) -> None:
        try:
            target()
        # Everything, SystemExit included: a thread that dies unseen leaves a monitor that is deaf.
        except BaseException as error:  # noqa: BLE001
            self.report(Failure(name, error))


def join_all(threads: Iterable[threading.Thread], deadline: Deadline) -> list[str]:
    """Join ``threads`` within what is left of ``deadline``; the names of those that outlive it."""
    threads = list(threads)
    for thread in threads:
        thread.join(deadline.left_s())
    alive = [thread.name for thread in threads if thread.is_alive()]
    if alive:
        log.error("threads.outlive_deadline", threads=" ".join(alive))
    return alive
