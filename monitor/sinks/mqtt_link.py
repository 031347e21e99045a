"""The link to the broker: made, kept, made again, in the protocol version that the broker speaks."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from monitor.sinks import mqtt_faults
from monitor.sinks.mqtt_back_off import BackOff
from monitor.sinks.mqtt_client import MqttSession, Version
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_reports import (
    Accepted,
    Acknowledged,
    Closed,
    Dropped,
    Incoming,
    Limits,
    Refused,
    ReportQueue,
    SessionReport,
    Subscribed,
    Ticket,
    Unreachable,
)
from monitor.sinks.mqtt_settings import MqttSettings, Publication

log = structlog.get_logger(__name__)

_SILENT_CLOSURES: Final = 2
"""Connections closed without an answer before the other protocol version is tried."""

_UNSUPPORTED_PROTOCOL: Final = 132

_RETAIN_NOT_SUPPORTED: Final = 154
_QOS_NOT_SUPPORTED: Final = 155
_NO_SUCH_WILL: Final = frozenset({_RETAIN_NOT_SUPPORTED, _QOS_NOT_SUPPORTED})

_UNSTEADY_AFTER: Final = 3
"""Short-lived connections in a row, before they are one standing fault."""

_TAKEN_OVER: Final = 142
"""MQTT 5 (OASIS standard, section 2.4): another client connected under our name."""

ACKNOWLEDGED_WITHIN_S: Final = 5.0
"""A broker that needs longer is as good as away for an alarm."""


@dataclass(frozen=True, slots=True)
class Connected:
    protocol: Version
    limits: Limits


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link is down; ``fault`` says why. ``final``: the next try will most likely fail alike."""

    fault: Fault
    final: bool
    held: bool = False
    """It stood long enough to be called a link."""


LinkReport = Connected | Disconnected | Acknowledged | Dropped | Subscribed | Incoming


class MqttLink:
    """Connects, stays connected and says what happens. One thread owns it; ``fault`` is for any.

    ``will`` is what the broker publishes for us when we vanish. ``wake`` is called, on paho's thread, when
    there is something to report; it must not wait.
    """

    def __init__(
        self,
        settings: MqttSettings,
        will: Publication | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._will = will
        self._queue = ReportQueue(wake)
        self._session: MqttSession | None = None
        self._silent_closures = 0
        self._fault: Fault | None = mqtt_faults.not_yet(settings)
        self._version: Version = "3.1.1" if settings.protocol == "3.1.1" else "5"
        self._unanswered_s: dict[Ticket, float] = {}
        self._back_off = BackOff(settings.reconnect_min_s, settings.reconnect_max_s)
        self._limits = Limits()
        self._has_own_name = False
        self._switched = 0
        self._short_links = 0
        self._unsteady: Fault | None = None
        self._up_at_s = 0.0

    def start(self) -> None:
        """Begin to connect, and go on for ever. Raises PermanentSinkError for unusable settings."""
        self._settings.check()
        self._session = self._new_session(1)

    @property
    def started(self) -> bool:
        return self._session is not None

    @property
    def connected(self) -> bool:
        return self._session is not None and self._session.connected

    @property
    def unsteady(self) -> bool:
        """Whether the broker lets us in and drops us, again and again."""
        return self._unsteady is not None

    @property
    def has_held(self) -> bool:
        """Whether the connection stands long enough to be called a link."""
        return self.connected and time.monotonic() - self._up_at_s >= self._settings.held_after_s

    def hurry(self) -> None:
        """Try to connect now; there is something to tell that cannot wait."""
        self._current().hurry()

    @property
    def protocol(self) -> Version:
        return self._version

    def fault(self) -> Fault | None:
        # A frozen broker and a half-open link show in what is not acknowledged long before an error comes.
        oldest_s = min(tuple(self._unanswered_s.values()), default=None)
        late = oldest_s is not None and time.monotonic() - oldest_s > ACKNOWLEDGED_WITHIN_S
        return (
            self._unsteady
            or self._fault
            or (mqtt_faults.slow(self._settings, ACKNOWLEDGED_WITHIN_S) if late else None)
        )

    def send(self, publication: Publication) -> Ticket | None:
        """Begin to publish; None when there is no room to do so now."""
        ticket = self._current().publish(publication)
        if ticket is not None:
            self._unanswered_s[ticket] = time.monotonic()
        return ticket

    def subscribe(self, topic: str, *, qos: int = 1) -> int | None:
        """Begin to subscribe. The message id comes back in the report; None when offline."""
        return self._current().subscribe(topic, qos)

    def reports(self, timeout_s: float = 0.0) -> list[LinkReport]:
        """What happened since the last call; waits up to ``timeout_s`` for the first."""
        found: list[LinkReport] = []
        with contextlib.suppress(queue.Empty):
            while True:
                number, raw = self._queue.get(timeout_s)
                timeout_s = 0.0
                self._note_answers(raw)
                # A session that was replaced has nothing to say, except what it left undelivered.
                if number == self._current().number or isinstance(raw, Dropped):
                    found.append(self._interpret(raw))
        if self._current().is_overdue(self._settings.answer_timeout_s):
            found.append(self._on_overdue())
        return found

    def supervise(self) -> None:
        """Replace the session in case that an error ended its thread; see whether the link holds again."""
        old = self._current()
        if self.unsteady and self.has_held:
            self._short_links, self._unsteady = 0, None
            log.info("mqtt.steady_again", broker=self._settings.address)
        if not old.alive:
            log.error("mqtt.network_thread_died", broker=self._settings.address)
            self._replace_session()

    def stop(self, timeout_s: float) -> None:
        """Disconnect and end paho's thread within ``timeout_s``. Calling it twice does no harm."""
        if self._session is not None:
            self._session.end(timeout_s)
            self._session = None

    def _note_answers(self, raw: SessionReport) -> None:
        answered = (
            (raw.ticket,)
            if isinstance(raw, Acknowledged)
            else raw.tickets
            if isinstance(raw, Dropped)
            else ()
        )
        for ticket in answered:
            self._unanswered_s.pop(ticket, None)

    def _interpret(self, raw: SessionReport) -> LinkReport:
        match raw:
            case Accepted():
                return self._on_accepted(raw.limits)
            case Refused():
                return self._on_refused(raw)
            case Unreachable():
                return self._down(mqtt_faults.unreachable(self._settings, raw.error), final=True)
            case Closed():
                return self._on_closed(raw)
            case _:
                return raw

    def _on_accepted(self, limits: Limits) -> LinkReport:
        self._silent_closures = self._switched = 0
        before, self._limits = self._limits, limits
        if limits.in_flight < before.in_flight:
            # paho takes another number for a new connection alone.
            self._replace_session()
            return self._down(mqtt_faults.not_yet(self._settings), final=False)
        self._fault = None
        self._up_at_s = time.monotonic()
        return Connected(self._version, limits)

    def _down(self, fault: Fault, *, final: bool, held: bool = False) -> Disconnected:
        self._fault = fault
        return Disconnected(fault, final, held)

    def _on_refused(self, answer: Refused) -> Disconnected:
        if answer.code in _NO_SUCH_WILL and self._limits != (less := self._limits_by(answer.code)):
            self._limits = less
            self._replace_session()
            return self._down(mqtt_faults.refused(self._settings, answer.code, answer.reason), final=False)
        switch = answer.code == _UNSUPPORTED_PROTOCOL and self._may_switch()
        if switch:
            self._switch_protocol("the broker refused it")
        fault = mqtt_faults.refused(self._settings, answer.code, answer.reason)
        return self._down(fault, final=not switch)

    def _on_closed(self, closed: Closed) -> Disconnected:
        if closed.answered:
            held = closed.stood_s >= self._settings.held_after_s
            self._count_short(closed, held=held)
            if self._version == "3.1.1" and self._may_switch():
                # What comes back may be another broker, or this one in a better mood.
                self._switch_protocol("a new connection begins with 5")
            return self._down(mqtt_faults.lost(self._settings, closed.reason), final=False, held=held)
        # A broker that knows no MQTT 5 should say so, but some just hang up.
        self._silent_closures += 1
        if self._silent_closures >= _SILENT_CLOSURES and self._may_switch():
            self._silent_closures = 0
            self._switch_protocol("the broker hangs up")
        return self._down(mqtt_faults.closed_silently(self._settings), final=False)

    def _count_short(self, closed: Closed, *, held: bool) -> None:
        if held:
            self._short_links, self._unsteady = 0, None
            return
        self._short_links += 1
        # Not every broker says that another client came under our name.
        if (closed.code == _TAKEN_OVER or self._short_links == _UNSTEADY_AFTER) and self._take_own_name():
            return
        if self._short_links < _UNSTEADY_AFTER or self.unsteady:
            return
        self._unsteady = (
            mqtt_faults.taken_over(self._settings)
            if closed.code == _TAKEN_OVER
            else mqtt_faults.unsteady(self._settings, closed.reason)
        )
        log.error("mqtt.unsteady", fault=str(self._unsteady))

    def _take_own_name(self) -> bool:
        """Add the machine to a configured client id that another may use as well; False where it is added."""
        settings = self._settings
        if settings.client_id is None or not settings.instance or self._has_own_name:
            return False
        self._has_own_name = True
        self._settings = replace(settings, client_id=f"{settings.client_id}-{settings.instance[:4]}")
        log.warning("mqtt.client_id_taken", before=settings.client_id, now=self._settings.client_id)
        self._replace_session()
        return True

    def _on_overdue(self) -> Disconnected:
        # Some brokers without MQTT 5 read its CONNECT as an incomplete one and wait for the rest.
        if self._may_switch():
            self._switch_protocol("the broker does not answer")
        return self._down(mqtt_faults.silent(self._settings), final=False)

    def _current(self) -> MqttSession:
        assert self._session is not None, "the link is not started"
        return self._session

    def _may_switch(self) -> bool:
        return self._settings.protocol == "auto"

    def _switch_protocol(self, why: str) -> None:
        """Replace the session by one of the other version."""
        before = self._version
        self._version = "3.1.1" if before == "5" else "5"
        if self._switched < 2:  # there and back; a broker that takes neither is tried for ever
            log.warning(
                "mqtt.protocol_changed",
                broker=self._settings.address,
                before=before,
                now=self._version,
                why=why,
            )
        self._switched += 1
        self._replace_session()

    def _limits_by(self, code: int) -> Limits:
        """What a refusal of our last will says about the broker."""
        if code == _RETAIN_NOT_SUPPORTED:
            return replace(self._limits, retain=False)
        return replace(self._limits, qos=0)

    def _replace_session(self) -> None:
        old = self._current()
        old.end(timeout_s=1.5)
        self._session = self._new_session(old.number + 1)

    def _new_session(self, number: int) -> MqttSession:
        return MqttSession(
            self._settings, self._version, self._will, number, self._queue, self._back_off, self._limits
        )
