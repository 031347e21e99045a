"""A channel's thread: takes what waits for it, tries, and tries again until it is no news any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from monitor.sinks.push_channels import Channel
from monitor.sinks.push_delivery import DeliveryLedger
from monitor.sinks.push_notes import Notification
from monitor.sinks.push_queue import PushQueue, Waiting

log = structlog.get_logger(__name__)

FIRST_BACK_OFF_S: Final = 2.0
LAST_BACK_OFF_S: Final = 30.0
LOOK_EVERY_S: Final = 0.5
STUCK_AFTER_S: Final = 20.0
"""Apprise gives up after 4 s without an answer. What takes longer hangs elsewhere, as in a name that
nobody looks up: the next step is asked then."""


class ChannelWorker:
    """``acknowledge_url`` gives the address that acknowledges a notification through a channel, or "".

    A service that hangs holds up this channel alone.
    """

    def __init__(
        self,
        channel: Channel,
        queue: PushQueue,
        ledger: DeliveryLedger,
        acknowledge_url: Callable[[Notification, str], str],
    ) -> None:
        self._channel = channel
        self._queue = queue
        self._ledger = ledger
        self._acknowledge_url = acknowledge_url
        self._tries: dict[str, int] = {}
        self._busy_since_s: float | None = None
        self._error: Exception | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        # Nothing in Python ends a thread that waits for a server; it must not keep the process.
        self._thread = threading.Thread(target=self._run, name=f"push-{channel.name}", daemon=True)

    @property
    def name(self) -> str:
        return self._channel.name

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Let the thread look at once. Any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Let the thread end after the attempt that it is in."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        if self._thread.is_alive():
            self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def step(self) -> None:
        """Try once whatever may be tried now."""
        if not self._queue.waiting(self.name):
            self._tries.clear()  # what was withdrawn in between as well
        tried: set[str] = set()
        while not self._stopping.is_set():
            # Asked anew each time: an attempt takes seconds, in which alarms come and are acknowledged.
            one = next((one for one in self._queue.pending(self.name) if one.key not in tried), None)
            if one is None:
                return
            tried.add(one.key)
            self._try(one)

    def raise_error(self) -> None:
        """Raise what ended the thread, if anything did. Whoever looks after the sink calls it."""
        if self._error is not None:
            raise self._error

    def fault(self) -> str:
        since_s = self._busy_since_s
        if since_s is None or time.monotonic() - since_s < STUCK_AFTER_S:
            return ""
        return f"{self.name} has not answered for more than {STUCK_AFTER_S:.0f} s"

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                self.step()
                self._wake.wait(LOOK_EVERY_S)
        except Exception as error:  # noqa: BLE001  - raise_error raises it again
            self._error = error

    def _try(self, one: Waiting) -> None:
        notification = one.notification
        if one.left_s <= 0:
            self._give_up(one)
            return
        link = self._acknowledge_url(notification, self.name)
        self._busy_since_s = time.monotonic()
        attempt = self._channel.send(notification, left_s=one.left_s, acknowledge_url=link)
        self._busy_since_s = None
        if attempt.ok:
            self._tries.pop(one.key, None)
            self._queue.done(self.name, one)
            self._ledger.delivered(self.name, notification.tag)
            waited_ms = round(1000 * (one.age_s + attempt.elapsed_s))
            log.info("push.delivered", channel=self.name, key=one.key, waited_ms=waited_ms)
            return
        tries = self._tries[one.key] = self._tries.get(one.key, 0) + 1
        back_off_s = min(FIRST_BACK_OFF_S * 2 ** (tries - 1), LAST_BACK_OFF_S)
        self._queue.defer(self.name, one, back_off_s)
        self._ledger.retrying(self.name, attempt.reason)
        if not self._queue.waiting(self.name):  # withdrawn while it was tried
            self._ledger.withdrawn(self.name)
        if tries == 1:
            log.warning("push.retrying", channel=self.name, key=one.key, reason=attempt.reason)

    def _give_up(self, one: Waiting) -> None:
        self._tries.pop(one.key, None)
        self._queue.done(self.name, one)
        reason = self._ledger.last_reason(self.name) or "It could not be tried in time."
        self._ledger.failed(self.name, reason)
        log.error("push.given_up", channel=self.name, key=one.key, reason=reason)
