"""Messages to an MQTT broker, for Home Assistant and for everybody else who subscribes.

States are retained and sent anew whenever somebody may have forgotten them: on every connection,
for the broker may have lost its store, and when Home Assistant says that it has started. Events
go through an outbox on disk and leave it when the broker has them. Commands are handed to the service.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from typing_extensions import override

from monitor import __version__
from monitor.commands import MAX_PAYLOAD, Inbox, Request
from monitor.messages import AnyMessage
from monitor.sinks import homeassistant, moment, mqtt_events, mqtt_faults
from monitor.sinks.base import Sink
from monitor.sinks.episode_ledger import EpisodeLedger
from monitor.sinks.hub_rates import HubRates
from monitor.sinks.hub_topics import Topics, is_folded
from monitor.sinks.moment import Moment
from monitor.sinks.mqtt_announcement import Announcement
from monitor.sinks.mqtt_client import Acknowledged, Dropped, Incoming, Limits, Subscribed, Ticket
from monitor.sinks.mqtt_events import EventDelivery
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_link import Connected, Disconnected, LinkReport, MqttLink
from monitor.sinks.mqtt_settings import MqttSettings, Publication
from monitor.sinks.mqtt_twin import Role, Sign, TwinWatch
from monitor.sinks.outbox import Outbox

log = structlog.get_logger(__name__)

DENIED_AGAIN_S: Final = 10.0
"""Between tries of a state that the broker refused."""
IGNORED_TOLD_EVERY_S: Final = 10.0
"""Whoever floods us with commands that are none must not flood the journal."""

_LIMIT: Final = "limit "
"""How the keys of faults begin that hold for one connection."""


def _up_to_two_seconds() -> float:
    return random.uniform(0.0, 2.0)


@dataclass(frozen=True, slots=True)
class _SentState:
    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class MqttStats:
    connected: bool
    announced: bool
    """The broker has all states and what makes the entities."""
    connections: int
    """Times that a connection was made."""
    waiting: int
    """Events not yet acknowledged by the broker with success."""
    settling: int
    """Events that the broker acknowledged and has perhaps not saved yet."""
    unheard: int
    """Events that the broker took and had nobody to give to; they are tried again while they are news."""
    late: int
    """Events that were too old to be news when the broker could have them."""
    evicted: int
    """Events that gave way in a full outbox: lost."""
    refused: int
    """Publications that the broker acknowledged with a failure."""
    ignored_commands: int
    """Commands that were retained or too long."""


class MqttSink(Sink):
    """Publishes to one broker. The link is watched and kept by ``handle`` and ``tick``.

    With an ``inbox`` it takes commands. ``jitter_s`` spreads the answers of many devices to Home
    Assistant's start.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        inbox: Inbox | None = None,
        jitter_s: Callable[[], float] = _up_to_two_seconds,
        monotonic_s: Callable[[], float] = time.monotonic,
        now: Callable[[], Moment] = moment.now,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._jitter_s = jitter_s
        self._monotonic_s = monotonic_s
        self._topics = Topics.of(settings)
        will = homeassistant.availability(self._topics, homeassistant.OFFLINE)
        self._link = MqttLink(settings, will=will, wake=self._on_heard)
        self._wake: Callable[[], None] | None = None
        self._outbox = Outbox(
            settings.outbox_file, capacity=settings.outbox_capacity, now=now, monotonic_s=monotonic_s
        )
        self._events = EventDelivery(self._outbox, self._topics, monotonic_s=monotonic_s)
        self._ledger = EpisodeLedger(self._outbox, monotonic_s=monotonic_s)
        self._rates = HubRates(self._topics)
        calm = homeassistant.calm(self._topics)
        self._states: dict[str, Publication] = {calm.topic: calm}
        self._in_flight: dict[Ticket, _SentState] = {}
        self._asked: dict[int | None, str] = {}
        self._denied: dict[str, Fault] = {}
        self._denied_again_at_s = 0.0
        self._announcement = Announcement(
            settings, homeassistant.discovery(settings, self._topics, __version__)
        )
        self._twin = TwinWatch(settings, self._topics)
        self._asking: Ticket | None = None
        self._closing = False
        self._announced = self._alarm_came = False
        self._connected_at_s = 0.0
        self._announce_at_s: float | None = None
        self._told: Fault | None = None
        self._limits = Limits()
        self._connections = self._refused = self._ignored_commands = 0
        self._ignored_told_at_s = -math.inf

    @property
    @override
    def name(self) -> str:
        return "mqtt"

    @override
    def wakes(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def _on_heard(self) -> None:
        if self._wake is not None:
            self._wake()

    @override
    def open(self) -> None:
        self._link.start()
        self._outbox.open()
        self._take_over()

    @override
    def handle(self, message: AnyMessage) -> None:
        # First of all to disk: whatever happens next, the event is safe.
        states = self._keep(message)
        self._work()
        if self._alarm_came:
            self._events.alarm_came()
            if not self._link.connected:
                self._link.hurry()
        if self._is_up:
            for state in self._rates.worth(message, states, self._monotonic_s()):
                self._send_state(state)
        self._send_events()

    @override
    def tick(self) -> None:
        self._outbox.tick()
        self._take_over()
        self._work()
        self._send_events()
        self._hasten_settling()
        self._try_denied()
        self._link.supervise()

    @override
    def fault(self) -> str:
        denied = next(iter(tuple(self._denied.values())), None)
        twin = self._twin.fault(self._monotonic_s())
        fault = self._link.fault() or twin or denied or self._announcement.fault
        return self._outbox.fault() if fault is None else str(fault)

    def reached(self) -> bool:
        """Whether the broker has every alarm that there is to tell, and somebody to tell it to. Any thread.

        Whether anybody subscribed is known with MQTT 5 alone.
        """
        return self._is_up and not self._events.alarm_waits()

    def stats(self) -> MqttStats:
        outbox = self._outbox.stats()
        return MqttStats(
            connected=self._is_up,
            announced=self._is_up and not self._announcement.due and not self._in_flight,
            connections=self._connections,
            waiting=self._events.waiting,
            settling=self._events.settling,
            unheard=self._events.unheard,
            late=self._events.late,
            evicted=outbox.evicted,
            refused=self._refused,
            ignored_commands=self._ignored_commands,
        )

    @override
    def close(self, timeout_s: float) -> None:
        if not self._link.started:
            return
        deadline_s = self._monotonic_s() + timeout_s
        self._work()
        self._send_events()
        if self._is_up:
            # The last word: whoever disconnects in order gets no will published.
            self._closing = True
            self._send_state(homeassistant.availability(self._topics, homeassistant.OFFLINE))
            while self._has_unanswered and (left_s := deadline_s - self._monotonic_s()) > 0:
                self._take(self._link.reports(left_s))
                self._send_events()
        self._link.stop(max(0.2, deadline_s - self._monotonic_s()))
        self._events.settle(at_stop=True)
        self._outbox.close(max(0.2, deadline_s - self._monotonic_s()))
        self._tell_undelivered()

    @property
    def _has_unanswered(self) -> bool:
        return self._is_up and bool(self._in_flight or self._events.in_flight)

    def _tell_undelivered(self) -> None:
        outbox = self._outbox.stats()
        if outbox.waiting and outbox.on_disk:
            log.warning("mqtt.kept_for_next_start", events=outbox.waiting, fault=self.fault())
        elif outbox.waiting:
            log.error("mqtt.undelivered_at_stop", events=outbox.waiting, fault=self.fault())

    def _take_over(self) -> None:
        """What an earlier process left: at the start, or later from a disk that did not answer then."""
        left = self._outbox.take_left()
        if left is None:
            return
        last = self._ledger.last_ended(left)
        if last is not None:
            calm = homeassistant.calm(self._topics)
            for state in self._publications(last):
                # What this process has reported meanwhile is newer.
                if state.retain and self._states.get(state.topic, calm) == calm:
                    self._states[state.topic] = state
        for ended in self._ledger.left_open(left):
            log.warning("mqtt.episode_cut_short", episode_id=ended.episode_id, event_id=ended.event_id)
            self._keep(ended)

    def _keep(self, message: AnyMessage) -> list[Publication]:
        """Put what must not be lost into the outbox; the states that the message changes."""
        made = self._publications(message)
        change = self._ledger.change(message)
        items = mqtt_events.items(message, made, self._settings.event_expiry_s)
        self._outbox.put(*items, remember=change.remember, forget=change.forget)
        self._alarm_came = any(item.kind in mqtt_events.ALARMS for item in items)
        return self._remember_states(made)

    def _remember_states(self, made: list[Publication]) -> list[Publication]:
        states = [publication for publication in made if publication.retain]
        self._states |= {state.topic: state for state in states}
        return states

    def _publications(self, message: AnyMessage) -> list[Publication]:
        return homeassistant.publications(
            message,
            self._topics,
            event_expiry_s=self._settings.event_expiry_s,
            telemetry_expiry_s=self._settings.telemetry_expiry_s,
        )

    # --- the link ---------------------------------------------------------------------------------

    @property
    def _is_up(self) -> bool:
        return self._announced and self._link.connected

    def _work(self) -> None:
        self._take(self._link.reports())
        if self._is_up and self._announce_at_s is not None and self._monotonic_s() >= self._announce_at_s:
            self._announce()
        self._attend_twin()
        if self._announcement.due and self._is_up and not self._has_unanswered:
            # Alarms and states first: it is the one message that a broker may drop us for.
            self._announcement.due = False
            self._send_state(self._announcement.publication)

    def _take(self, reports: list[LinkReport]) -> None:
        for report in reports:
            match report:
                case Connected():
                    self._on_connected(report)
                case Disconnected():
                    self._on_disconnected(report)
                case Acknowledged():
                    self._on_acknowledged(report)
                case Dropped():
                    for ticket in report.tickets:
                        self._in_flight.pop(ticket, None)  # states are sent anew anyhow
                        self._announcement.dropped(ticket)
                        self._events.dropped(ticket)
                case Subscribed() if report.mid in self._asked:
                    self._note(self._asked[report.mid], report, "subscribe")
                case Incoming():
                    self._on_incoming(report)
                case Subscribed():
                    pass  # of the topics that we can do without

    def _on_connected(self, report: Connected) -> None:
        self._connections += 1
        self._connected_at_s = self._monotonic_s()
        self._events.link_lost()
        self._note_limits(report.limits)
        if not self._link.unsteady:  # which has been told, once
            self._told = None
            log.info("mqtt.connected", broker=self._settings.address, protocol=report.protocol)
        self._twin.connected(self._connected_at_s)
        self._subscribe()

    def _note_limits(self, limits: Limits) -> None:
        self._limits = limits
        for key in [key for key in self._denied if key.startswith(_LIMIT)]:
            del self._denied[key]
        if limits.qos == 0:
            self._deny(f"{_LIMIT}qos", mqtt_faults.no_confirmation(self._settings))
        if not limits.retain:
            self._deny(f"{_LIMIT}retain", mqtt_faults.no_retaining(self._settings))

    def _fits(self, publication: Publication) -> bool:
        """Whether the broker takes so large a packet; says so where it does not."""
        limit, size = self._limits.packet_bytes, self._limits.size(publication)
        if limit is None or size <= limit:
            return True
        self._deny(
            f"{_LIMIT}{publication.topic}",
            mqtt_faults.too_large(self._settings, publication.topic, size, limit),
        )
        return False

    def _deny(self, key: str, fault: Fault) -> None:
        """Keep a fault and log it once."""
        if key not in self._denied:
            log.error("mqtt.not_permitted", fault=str(fault))
        self._denied[key] = fault

    def _subscribe(self) -> None:
        self._asked.clear()
        if self._twin.watches:
            for topic in (self._topics.instance, self._topics.availability):
                self._link.subscribe(topic)  # where the access list forbids it we do without
        if self._settings.discovery:
            if is_folded(self._settings):
                self._link.subscribe(self._topics.discovery)
            topic = self._settings.birth_topic
            self._asked[self._link.subscribe(topic)] = topic
        if self._inbox is not None:
            topic = self._topics.set_filter
            # QoS 0, for the broker would keep commands of QoS 1 while we are away, and what a parent
            # pressed then must not happen an hour later.
            self._asked[self._link.subscribe(topic, qos=0)] = topic

    def _on_disconnected(self, report: Disconnected) -> None:
        if report.fault != self._told and not self._link.unsteady:
            log.warning("mqtt.disconnected", fault=str(report.fault))
        self._told = report.fault
        self._twin.link_lost()
        if self._announced:
            stood_s = self._monotonic_s() - self._connected_at_s
            self._announcement.link_lost(held=stood_s >= self._settings.held_after_s)
        self._events.link_lost()
        self._announced = False
        self._announce_at_s = None

    def _on_acknowledged(self, report: Acknowledged) -> None:
        if report.ticket == self._asking:
            self._asking = None
            self._twin.nothing_claimed()
            return
        self._announcement.answered(report.ticket)
        state = self._in_flight.pop(report.ticket, None)
        if state is None:
            topic = self._events.acknowledged(report.ticket, report.code, failed=report.failed)
        else:
            topic = state.topic
            if not report.failed:
                self._events.state_acknowledged(state.number)
        if topic is not None:
            self._refused += report.failed
            self._note(topic, report, "publish")

    def _note(self, topic: str, answer: Acknowledged | Subscribed, verb: str) -> None:
        """Keep a refusal as a fault until the same topic is granted; log it once."""
        key = f"{verb} {topic}"
        if not answer.failed:
            self._denied.pop(key, None)
        else:
            self._deny(
                key, mqtt_faults.not_permitted(self._settings, topic, answer.code, answer.reason, verb)
            )

    def _on_incoming(self, report: Incoming) -> None:
        control = self._topics.control_of(report.topic)
        if control is not None:
            self._on_command(control, report)
        # A retained birth message comes with our own subscription, when all has just been sent.
        elif report.topic == self._topics.discovery:
            self._announcement.heard(report.payload)
        elif report.topic == self._topics.instance:
            sign = Sign.read(report.payload)
            if sign is not None:
                self._twin.heard(sign, self._monotonic_s(), retained=report.retain)
        elif report.topic == self._topics.availability:
            if report.payload == b"offline" and not report.retain and self._is_up and not self._closing:
                # Somebody's last will: of a twin, or of our own connection that was lost.
                self._send_state(homeassistant.availability(self._topics, homeassistant.ONLINE))
        elif report.topic == self._settings.birth_topic and report.payload == b"online" and not report.retain:
            self._announce_at_s = self._monotonic_s() + self._jitter_s()

    def _on_command(self, control: str, report: Incoming) -> None:
        if self._inbox is None or self._twin.has_other:
            return  # it is for the one that reports
        too_long = len(report.payload) > MAX_PAYLOAD or len(control) > MAX_PAYLOAD
        if report.retain or too_long:
            self._ignored_commands += 1
            if self._monotonic_s() - self._ignored_told_at_s >= IGNORED_TOLD_EVERY_S:
                self._ignored_told_at_s = self._monotonic_s()
                why = "too long" if too_long else "retained: it may be years old"
                log.warning("mqtt.command_ignored", control=control[:MAX_PAYLOAD], why=why)
            return
        self._inbox.put(Request(control, report.payload, "hub"))

    # --- another with our id --------------------------------------------------------------------

    def _attend_twin(self) -> None:
        if self._closing:
            return
        for publication in self._twin.due(self._monotonic_s(), alarm_waits=self._events.alarm_waits()):
            ticket = self._link.send(publication)
            self._asking = None if publication.retain else ticket
        reports = self._twin.role is Role.REPORTS
        if reports and not self._announced:
            self._announced = True
            self._announce()
        elif not reports and self._announced:
            self._announced = False
            self._announcement.due = False

    # --- publishing -------------------------------------------------------------------------------

    def _announce(self) -> None:
        """Say all that a hub has to know: how it is, that it is valid, and last what there is."""
        self._announce_at_s = None
        self._events.listener_came()
        last = homeassistant.availability(self._topics, homeassistant.ONLINE)
        self._rates.forget()
        for publication in (*self._states.values(), last):
            self._send_state(publication)
        self._announcement.ask()

    def _send_state(self, publication: Publication) -> None:
        if not self._fits(publication):
            return
        ticket = self._link.send(publication)
        if ticket is None:
            # paho is full because the broker does not acknowledge: say all again a little later.
            self._announce_at_s = self._monotonic_s() + 1.0
        else:
            self._in_flight[ticket] = _SentState(publication.topic, self._events.state_sent())
            if publication.topic == self._topics.discovery:
                self._announcement.sent(ticket)

    def _send_events(self) -> None:
        for outgoing in self._events.due() if self._is_up else ():
            if not self._fits(outgoing.publication):
                continue
            ticket = self._link.send(outgoing.publication)
            if ticket is None:
                return
            self._events.sent(ticket, outgoing)

    def _hasten_settling(self) -> None:
        """Say again what everybody knows, where no state is on its way that lets events settle."""
        if self._is_up and self._events.settling and not self._in_flight:
            self._send_state(homeassistant.availability(self._topics, homeassistant.ONLINE))

    def _try_denied(self) -> None:
        """Say again what was refused: a broker that has learnt better does not tell."""
        if self._is_up and self._denied and self._monotonic_s() >= self._denied_again_at_s:
            self._denied_again_at_s = self._monotonic_s() + DENIED_AGAIN_S
            for topic, state in self._states.items():
                if f"publish {topic}" in self._denied:
                    self._send_state(state)
