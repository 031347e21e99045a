"""Fan-out of messages into one bounded queue per sink, and what is lost when a sink is slow.

Any thread may publish; publishing never waits. Each queue is read by one worker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from monitor.messages import (
    AlertMessage,
    AnyMessage,
    ConfirmedCauseMessage,
    ControlsMessage,
    DeliveryMessage,
    EpisodeMessage,
    HealthMessage,
    Message,
    NightMessage,
    TelemetryMessage,
    TestMessage,
)
from monitor.words import count

DEFAULT_CAPACITY: Final = 256


class _Rank(IntEnum):
    """In a full queue the lowest rank gives way first."""

    TELEMETRY = 0
    HEALTH = 1
    UPDATE = 2
    STATE = 3
    """What somebody has set or has to know; there is one of each kind."""
    ALERT = 4
    """Start, escalation or end of an episode, and what a person has just asked for."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    message: AnyMessage
    rank: _Rank
    since_s: float


@dataclass(frozen=True, slots=True)
class QueueStats:
    depth: int
    oldest_age_s: float
    """How long the longest waiting message, or the one that it replaced, has waited; 0 if none."""
    superseded: int
    """Messages that a newer one of their kind replaced while they waited: nothing is missed."""
    dropped: int
    """Telemetry, health and updates that gave way in a full queue."""
    lost_alerts: int
    """Starts, escalations and ends of episodes that gave way in a full queue."""


class MessageQueue:
    """The messages that wait for one sink.

    Of telemetry and of health only the newest waits, of an episode's updates only the newest as
    well. Starts and ends of episodes wait as long as there is room; in a full queue all others give
    way to them. When starts and ends alone fill it, the oldest is lost, counted and a fault: what
    the baby does now matters more than what it did 256 events ago.
    """

    def __init__(
        self,
        name: str,
        capacity: int = DEFAULT_CAPACITY,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"A queue needs room for a message, not for {capacity}.")
        self.name = name
        self._capacity = capacity
        self._monotonic_s = monotonic_s
        self._waiting: dict[Hashable, _Waiting] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._woken = False
        self._superseded = 0
        self._dropped = 0
        self._lost_alerts = 0
        self._overflowing = False

    def put(self, message: AnyMessage) -> None:
        """Add ``message``; never waits."""
        key, rank = _key_and_rank(message)
        with self._changed:
            replaced = self._waiting.pop(key, None)
            since_s = self._monotonic_s()
            if replaced is not None:
                self._superseded += 1
                since_s = replaced.since_s  # else a stuck sink would look young for ever
            elif len(self._waiting) >= self._capacity and not self._make_room(rank):
                self._dropped += 1
                return
            self._waiting[key] = _Waiting(message, rank, since_s)
            self._changed.notify()

    def get(self, timeout_s: float) -> AnyMessage | None:
        """The next message in order; None when none came in time, or the reader was woken."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed or self._woken, timeout_s)
            if not self._waiting:
                self._woken = False
                return None
            message = self._waiting.pop(next(iter(self._waiting))).message
            if not self._waiting:
                self._overflowing = False
            return message

    def wake(self) -> None:
        """Let a ``get`` that waits, or else the next one, return at once. Any thread."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def close(self) -> None:
        """Let ``get`` no longer wait; what is in the queue can still be had."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def stats(self) -> QueueStats:
        with self._changed:
            now_s = self._monotonic_s()
            oldest_s = min((waiting.since_s for waiting in self._waiting.values()), default=now_s)
            return QueueStats(
                depth=len(self._waiting),
                oldest_age_s=now_s - oldest_s,
                superseded=self._superseded,
                dropped=self._dropped,
                lost_alerts=self._lost_alerts,
            )

    def fault(self) -> str:
        """Why alerts were lost; empty again once the sink has worked off all that waited."""
        with self._changed:
            if not self._overflowing:
                return ""
            return (
                f"{count(self._lost_alerts, 'alert')} of crying could not be kept for {self.name}: "
                f"{self._capacity} were waiting already. See why {self.name} does not deliver."
            )

    def _make_room(self, rank: _Rank) -> bool:
        """Evict the oldest message of the lowest rank, if that is not above ``rank``."""
        key = min(self._waiting, key=lambda key: self._waiting[key].rank)
        lowest = self._waiting[key].rank
        if lowest > rank:
            return False
        del self._waiting[key]
        if lowest is _Rank.ALERT:
            self._lost_alerts += 1
            self._overflowing = True
        else:
            self._dropped += 1
        return True


@dataclass(frozen=True, slots=True)
class _Route:
    queue: MessageQueue
    only: type[Message]
    told: Callable[[], None] | None


class MessageBus:
    """Hands every message to every queue. All queues are subscribed before the first message."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._routes: tuple[_Route, ...] = ()

    def subscribe(
        self,
        name: str,
        capacity: int = DEFAULT_CAPACITY,
        *,
        only: type[Message] = Message,
        told: Callable[[], None] | None = None,
    ) -> MessageQueue:
        """A queue that gets every message of kind ``only`` published from now on.

        ``told`` is called behind each, on the publishing thread, and must not wait.
        """
        queue = MessageQueue(name, capacity, monotonic_s=self._monotonic_s)
        self._routes = (*self._routes, _Route(queue, only, told))
        return queue

    def publish(self, message: AnyMessage) -> None:
        for route in self._routes:
            if isinstance(message, route.only):
                route.queue.put(message)
                if route.told is not None:
                    route.told()

    def close(self) -> None:
        for route in self._routes:
            route.queue.close()


def _key_and_rank(message: AnyMessage) -> tuple[Hashable, _Rank]:
    """Messages of one key replace each other."""
    match message:
        case TelemetryMessage():
            return "telemetry", _Rank.TELEMETRY
        case HealthMessage():
            return "health", _Rank.HEALTH
        case EpisodeMessage(event_type="updated"):
            return ("updated", message.episode_id), _Rank.UPDATE
        case ControlsMessage() | AlertMessage() | NightMessage() | DeliveryMessage():
            return message.kind, _Rank.STATE
        case EpisodeMessage() | TestMessage() | ConfirmedCauseMessage():
            return ("alert", message.event_id), _Rank.ALERT
