"""What the service needs of a sink, the end of the line for messages."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from monitor.messages import AnyMessage


class Role(Enum):
    """What becomes of a cry when the sink is gone."""

    ALARMS = "alarms"
    """Somebody is not told. Without any such sink the service is pointless, and ends."""
    REMEMBERS = "remembers"
    """Nobody is alarmed by it: it may fail, and neither ends the service nor delays it."""


class Sink(Protocol):
    """Delivers messages. One worker thread calls it; it never calls back."""

    @property
    def name(self) -> str:
        """For logs and health."""

    def wakes(self, wake: Callable[[], None]) -> None:  # noqa: ARG002  # most sinks have no use for it
        """Before ``open``: what to call, from any thread, to be ticked at once and not within a second."""
        return None  # noqa: RET501  # an empty body would make it abstract

    @property
    def role(self) -> Role:
        return Role.ALARMS

    def open(self) -> None:
        """Begin; must not wait for a network.

        Raises PermanentSinkError when the configuration can never work.
        """

    def handle(self, message: AnyMessage) -> None:
        """Deliver one message, or hand it to something that will.

        Raises RetryableSinkError (the worker offers the same message again), PermanentSinkError (the
        worker drops it, counts it and says so) or SinkGoneError (and no later message can arrive).
        """

    def tick(self) -> None:
        """Called about once a second between messages, and when the sink woke its worker."""

    def fault(self) -> str:
        """Why messages do not get through at the moment; empty while all is well. Any thread."""

    def close(self, timeout_s: float) -> None:
        """Deliver what can be delivered within ``timeout_s`` and release everything."""
