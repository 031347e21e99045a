"""What the broker said, and what became of what we sent: what paho's thread reports to the sink's."""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from monitor.sinks.mqtt_settings import Publication

IN_FLIGHT: Final = 20
"""Publications without an answer that we send at most; a broker may ask for fewer."""

Ticket = tuple[int, int]
"""What a publication is known by until it is acknowledged: number of the session, message id."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the broker takes, as it says with MQTT 5 (OASIS standard, section 3.2.2.3)."""

    packet_bytes: int | None = None
    """None: it named no limit."""
    qos: int = 1
    retain: bool = True
    in_flight: int = IN_FLIGHT
    """Publications without an answer."""

    def size(self, publication: Publication) -> int:
        """Bytes of the packet, at most: header, topic, message id, expiry, payload."""
        return 5 + 2 + len(publication.topic.encode()) + 2 + 6 + len(publication.payload.encode())


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker let us in."""

    limits: Limits


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker answered and said no."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No connection could be made."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection ended: one that stood, or (``answered`` False) one without any answer."""

    answered: bool
    reason: str
    code: int = 0
    """Of MQTT 5, where the broker said why; else 0 or paho's own."""
    stood_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker answered a publication, with ``code`` and ``reason``; MQTT 3.1.1 has none but success."""

    ticket: Ticket
    failed: bool
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """Publications without an answer when the link went down; their owner decides about them."""

    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker answered the subscription with this message id."""

    mid: int
    failed: bool
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Incoming:
    topic: str
    payload: bytes
    retain: bool


SessionReport = Accepted | Refused | Unreachable | Closed | Acknowledged | Dropped | Subscribed | Incoming


class ReportQueue:
    """What paho heard, by the session's number; ``wake`` is called after each report and must not wait."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._queue: queue.SimpleQueue[tuple[int, SessionReport]] = queue.SimpleQueue()

    def put(self, number: int, report: SessionReport) -> None:
        self._queue.put((number, report))
        self._wake()

    def get(self, timeout_s: float) -> tuple[int, SessionReport]:
        """The oldest; waits up to ``timeout_s`` for one. Raises queue.Empty."""
        return self._queue.get(block=timeout_s > 0, timeout=timeout_s)
