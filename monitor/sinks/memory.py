"""A sink that keeps what it gets: for tests, and for a program that reads along (the demo)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from typing_extensions import override

from monitor.messages import AnyMessage, EpisodeMessage, HealthMessage, TelemetryMessage
from monitor.sinks.base import Sink

M = TypeVar("M", EpisodeMessage, TelemetryMessage, HealthMessage)


class ListSink(Sink):
    """Keeps every message in order. Any thread may read and wait."""

    def __init__(self, name: str = "list") -> None:
        self._name = name
        self._messages: list[AnyMessage] = []
        self._arrived = threading.Condition()

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    def messages(self) -> list[AnyMessage]:
        """A copy of what has arrived so far."""
        with self._arrived:
            return list(self._messages)

    def of(self, kind: type[M]) -> list[M]:
        """What has arrived of one kind."""
        return [message for message in self.messages if isinstance(message, kind)]

    def wait_for(self, condition: Callable[[list[AnyMessage]], object], timeout_s: float) -> bool:
        """Wait until ``condition`` holds for the messages; False when it does not in time."""
        with self._arrived:
            return bool(self._arrived.wait_for(lambda: condition(list(self._messages)), timeout_s))

    @override
    def open(self) -> None:
        """Nothing to prepare."""

    @override
    def handle(self, message: AnyMessage) -> None:
        with self._arrived:
            self._messages.append(message)
            self._arrived.notify_all()

    @override
    def tick(self) -> None:
        """Nothing to do between messages."""

    @override
    def fault(self) -> str:
        return ""

    @override
    def close(self, timeout_s: float) -> None:
        """Nothing to release."""
