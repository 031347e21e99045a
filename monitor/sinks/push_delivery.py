"""What became of notifications: by channel and altogether. Any thread may write and read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

_TAGS_KNOWN: Final = 64
"""Tags of which the delivery is remembered; there are never as many alarms at once."""

State = Literal["none", "delivered", "retrying", "failed"]


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """The fields of a :class:`~monitor.messages.DeliveryMessage`."""

    state: State = "none"
    channels: dict[str, str] = field(default_factory=dict)
    delivered: int = 0
    failed: int = 0
    waiting: int = 0
    last_delivered_at: datetime | None = None


@dataclass(slots=True)
class _Channel:
    state: State = "none"
    reason: str = ""
    down_since_s: float | None = None
    """When the first of the attempts failed that have failed one after the other."""

    def shown(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


class DeliveryLedger:
    """Keeps the latest outcome of each channel, and when something of a tag last arrived anywhere."""

    def __init__(self, channels: Sequence[str], *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._changed = threading.Condition()
        self._channels = {name: _Channel() for name in channels}
        self._delivered = self._failed = 0
        self._last_delivered_at: datetime | None = None
        self._delivered_s: dict[str, float] = {}

    def delivered(self, channel: str, tag: str) -> None:
        with self._changed:
            self._channels[channel] = _Channel("delivered")
            self._delivered += 1
            self._last_delivered_at = datetime.now(UTC)
            self._delivered_s.pop(tag, None)
            self._delivered_s[tag] = self._monotonic_s()
            if len(self._delivered_s) > _TAGS_KNOWN:
                del self._delivered_s[next(iter(self._delivered_s))]
            self._changed.notify_all()

    def retrying(self, channel: str, reason: str) -> None:
        with self._changed:
            self._channels[channel] = _Channel("retrying", reason, self._down_since_s(channel))
            self._changed.notify_all()

    def failed(self, channel: str, reason: str) -> None:
        """It was no news any more before it could be delivered."""
        with self._changed:
            self._channels[channel] = _Channel("failed", reason, self._down_since_s(channel))
            self._failed += 1
            self._changed.notify_all()

    def withdrawn(self, channel: str) -> None:
        """What was tried again and again is no longer worth it."""
        with self._changed:
            now = self._channels[channel]
            if now.state == "retrying":
                self._channels[channel] = _Channel("failed", now.reason, now.down_since_s)
            self._changed.notify_all()

    def last_reason(self, channel: str) -> str:
        with self._changed:
            return self._channels[channel].reason

    def arrived_s(self, tag: str) -> float | None:
        """When something about ``tag`` last reached anybody, on the monotonic clock."""
        with self._changed:
            return self._delivered_s.get(tag)

    def forget(self, tag: str) -> None:
        with self._changed:
            self._delivered_s.pop(tag, None)

    def status(self, waiting: int) -> DeliveryStatus:
        with self._changed:
            states = {channel.state for channel in self._channels.values()}
            order: tuple[State, ...] = ("retrying", "failed", "delivered")
            return DeliveryStatus(
                state=next((state for state in order if state in states), "none"),
                channels={name: channel.shown() for name, channel in self._channels.items()},
                delivered=self._delivered,
                failed=self._failed,
                waiting=waiting,
                last_delivered_at=self._last_delivered_at,
            )

    def unreachable(self, for_s: float) -> frozenset[str]:
        """The channels by which nothing got through for so long."""
        with self._changed:
            since = {name: channel.down_since_s for name, channel in self._channels.items()}
            now_s = self._monotonic_s()
            return frozenset(
                name for name, at_s in since.items() if at_s is not None and now_s - at_s >= for_s
            )

    def _down_since_s(self, channel: str) -> float:
        since_s = self._channels[channel].down_since_s
        return self._monotonic_s() if since_s is None else since_s

    def fault(self) -> str:
        with self._changed:
            down = {n: c.reason for n, c in self._channels.items() if c.state in ("retrying", "failed")}
        return "; ".join(f"{name} cannot be reached: {reason}" for name, reason in down.items())

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``condition`` holds; it is asked again after every outcome."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)
