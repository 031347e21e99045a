"""Direct push: parents are told without a hub, through every channel that Apprise knows, and are asked again.

The policy (:mod:`~monitor.sinks.push_policy`) says who is told what, the queue keeps it on disk, each
channel's thread (:mod:`~monitor.sinks.push_worker`) delivers it. When nobody can be reached the attached
speaker sounds.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog
from typing_extensions import override

from monitor.commands import Inbox
from monitor.messages import AnyMessage
from monitor.sinks import push_tokens
from monitor.sinks.base import Sink
from monitor.sinks.outbox import Outbox
from monitor.sinks.push_callback import PREFIX, AcknowledgeListener
from monitor.sinks.push_channels import Channel
from monitor.sinks.push_delivery import DeliveryLedger, DeliveryStatus
from monitor.sinks.push_notes import Notification, Now, Orders, Urgency
from monitor.sinks.push_policy import PushPolicy
from monitor.sinks.push_queue import PushQueue
from monitor.sinks.push_settings import PushSettings
from monitor.sinks.push_state import PolicyState
from monitor.sinks.push_tokens import Acknowledgement
from monitor.sinks.push_worker import ChannelWorker
from monitor.sinks.sounder import Sounder

log = structlog.get_logger(__name__)

OUTBOX_FILE: Final = "push.sqlite"
KEY_BYTES: Final = 32
UNREACHABLE_AFTER_S: Final = 15.0
"""One failed attempt is nothing: the next ones come within seconds."""


def _now() -> Now:
    return Now(time.monotonic(), datetime.now().astimezone())


class PushSink(Sink):
    """``hub_reached`` says whether the home hub gets our messages now; None: there is no hub."""

    def __init__(
        self,
        settings: PushSettings,
        *,
        inbox: Inbox,
        hub_reached: Callable[[], bool] | None = None,
        now: Callable[[], Now] = _now,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._hub_reached = hub_reached
        self._now = now
        names = [channel.name for channel in settings.channels]
        self._channels = [Channel(channel) for channel in settings.channels]
        path = None if settings.state_dir is None else settings.state_dir / OUTBOX_FILE
        self._queue = PushQueue(Outbox(path), names)
        self._ledger = DeliveryLedger(names, monotonic_s=lambda: self._now().monotonic_s)
        self._workers: list[ChannelWorker] = []
        self._policy = PushPolicy(settings)
        self._saved: PolicyState | None = None
        self._taken_over = False
        self._key = b""
        self._listener: AcknowledgeListener | None = None
        self._sounder = None if settings.sounder is None else Sounder(settings.sounder)

    @property
    @override
    def name(self) -> str:
        return "push"

    @override
    def open(self) -> None:
        """Raises ConfigError for a channel that could never work, and without Apprise."""
        for channel in self._channels:
            channel.check()
        self._queue.open()
        self._take_over()
        if self._settings.callback_listen is not None:
            self._key = _key(self._queue)
            self._listener = AcknowledgeListener(
                self._settings.callback_listen, self._key, self._inbox, self._on_acknowledged
            )
            self._listener.open()
        self._workers = [
            ChannelWorker(channel, self._queue, self._ledger, self._acknowledge_url)
            for channel in self._channels
        ]
        for worker in self._workers:
            worker.start()

    @override
    def handle(self, message: AnyMessage) -> None:
        self._carry_out(self._policy.handle(message, self._now()))

    @override
    def tick(self) -> None:
        now = self._now()
        reached = None if self._hub_reached is None else self._hub_reached()
        # The last resort goes first: nothing that fails or waits may come before it.
        if self._sounder is not None:
            self._sounder.step(now.monotonic_s, wanted=self._nobody_knows(now, reached=bool(reached)))
        for worker in self._workers:
            worker.raise_error()
        self._take_over()
        stuck = {worker.name for worker in self._workers if worker.fault()}
        self._policy.unreachable = self._ledger.unreachable(UNREACHABLE_AFTER_S) | stuck
        self._carry_out(self._policy.tick(now, hub_reached=reached))
        self._queue.tick()

    @override
    def fault(self) -> str:
        sounder = "" if self._sounder is None else self._sounder.fault()
        stuck = [worker.fault() for worker in self._workers]
        listener = "" if self._listener is None else self._listener.fault
        faults = [self._ledger.fault(), *stuck, self._queue.fault(), listener, sounder]
        return " ".join(fault for fault in faults if fault)

    @override
    def close(self, timeout_s: float) -> None:
        """Let each channel try what it has not tried yet; what is left is kept for the next start."""
        until_s = time.monotonic() + timeout_s
        self._ledger.wait_for(lambda: not self._untried(), timeout_s / 2)
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            if not worker.join(until_s - time.monotonic()):
                log.warning("push.still_sending", channel=worker.name)
        if self._listener is not None:
            self._listener.close()
        if self._sounder is not None:
            self._sounder.close()
        self._queue.close(max(0.2, until_s - time.monotonic()))

    def delivery(self) -> DeliveryStatus:
        """What became of what was sent. Any thread."""
        return self._ledger.status(self._queue.waiting())

    @property
    def callback_port(self) -> int:
        """Where phones are heard; 0 where they are not."""
        return 0 if self._listener is None else self._listener.port

    def _take_over(self) -> None:
        """What an earlier process left: at the start, or later from a disk that did not answer then."""
        left = self._queue.take_left()
        if left is not None:
            self._policy.take_over(left)
            self._taken_over = True

    def _carry_out(self, orders: Orders) -> None:
        for tag in orders.withdraw:
            for channel in self._queue.withdraw(tag):
                self._ledger.withdrawn(channel)
            self._ledger.forget(tag)
        state = self._policy.state
        # What an earlier process knew must not be overwritten before it has been read.
        changed = self._taken_over and state != self._saved
        if orders.send or changed:
            self._queue.put(orders.send, state if changed else None)
        if changed:
            self._saved = state
        for notification in orders.send:
            log.info("push.raised", key=notification.key, to=", ".join(notification.recipients))
        if orders.send:
            for worker in self._workers:
                worker.wake()

    def _untried(self) -> bool:
        return any(self._queue.pending(worker.name) for worker in self._workers)

    def _nobody_knows(self, now: Now, *, reached: bool) -> bool:
        """Whether there is an alarm that neither hub nor phone has got for a while."""
        if reached or self._settings.sounder is None:
            return False
        after_s = self._settings.sounder.after_s
        for alarm in self._policy.open_alarms(now):
            matters = alarm.urgency is Urgency.URGENT or alarm.tag.startswith("cry-")
            late = now.monotonic_s - alarm.raised_s >= after_s
            # What arrived earlier was about an earlier fault.
            arrived_s = self._ledger.arrived_s(alarm.tag)
            if matters and late and (arrived_s is None or arrived_s < alarm.raised_s):
                return True
        return False

    # --- acknowledging ----------------------------------------------------------------------------

    def _acknowledge_url(self, notification: Notification, channel: str) -> str:
        url = self._settings.callback_url
        if notification.episode_id is None or url is None or not self._key:
            return ""
        what = Acknowledgement(notification.episode_id, channel)
        return url.rstrip("/") + PREFIX + push_tokens.issue(self._key, what, time.time())

    def _on_acknowledged(self, what: Acknowledgement) -> None:
        self._policy.acknowledging(what.episode_id, what.channel)


def _key(queue: PushQueue) -> bytes:
    fresh = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")
    try:
        key = base64.b64decode(queue.signing_key(fresh), validate=True)
    except ValueError:  # binascii's own, and what is not ASCII
        key = b""
    if len(key) == KEY_BYTES:
        return key
    # Alerts that were sent can be acknowledged elsewhere; a monitor that does not start is deaf.
    log.error("push.key_damaged", remedy="links in alerts sent before work no more")
    return base64.b64decode(queue.renew_signing_key(fresh))
