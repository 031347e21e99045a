"""Messages to an MQTT broker, for Home Assistant and for everybody else who subscribes.

States are retained (:mod:`~monitor.sinks.mqtt_states`). Events go through an outbox on disk and leave it when
the broker has them. Commands are handed to the service.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from typing_extensions import override

from monitor import __version__
from monitor.commands import Inbox
from monitor.messages import AnyMessage
from monitor.sinks import homeassistant, moment, mqtt_events
from monitor.sinks.base import Sink
from monitor.sinks.episode_ledger import EpisodeLedger
from monitor.sinks.hub_topics import Topics, is_folded
from monitor.sinks.moment import Moment
from monitor.sinks.mqtt_announcement import Announcement
from monitor.sinks.mqtt_commands import Commands
from monitor.sinks.mqtt_events import EventDelivery
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_limits import BrokerLimits
from monitor.sinks.mqtt_link import Connected, Disconnected, LinkReport, MqttLink
from monitor.sinks.mqtt_refusals import Refusals
from monitor.sinks.mqtt_reports import Acknowledged, Dropped, Incoming, Subscribed
from monitor.sinks.mqtt_settings import MqttSettings, Publication
from monitor.sinks.mqtt_states import RetainedStates
from monitor.sinks.mqtt_twin import Role, Sign, TwinWatch
from monitor.sinks.outbox import Outbox

log = structlog.get_logger(__name__)


def _up_to_two_seconds() -> float:
    return random.uniform(0.0, 2.0)


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
        self._states = RetainedStates(self._topics, jitter_s)
        self._announcement = Announcement(
            settings, homeassistant.discovery(settings, self._topics, __version__)
        )
        self._refusals = Refusals(settings)
        self._limits = BrokerLimits(settings, self._refusals)
        self._twin = TwinWatch(settings, self._topics)
        self._commands = None if inbox is None else Commands(inbox)
        self._closing = False
        self._announced = False
        self._told: Fault | None = None
        self._connections = 0
        self._hurry_at_s = 0.0

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
        made = self._publications(message)
        is_alarm = self._keep(message, made)
        self._work()
        if is_alarm:
            self._events.alarm_came()
            if not self._link.connected:
                self._link.hurry()
        if self._is_up:
            self._states.changed(message, made, self._monotonic_s())
        self._publish_due()

    @override
    def tick(self) -> None:
        self._outbox.tick()
        self._take_over()
        self._work()
        self._publish_due()
        self._publish_again()
        self._hurry()
        self._link.supervise()

    @override
    def fault(self) -> str:
        twin = self._twin.fault(self._monotonic_s())
        fault = self._link.fault() or twin or self._refusals.first or self._announcement.fault
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
            announced=self._is_up and not self._announcement.due and self._states.is_idle,
            connections=self._connections,
            waiting=self._events.waiting,
            settling=self._events.settling,
            unheard=self._events.unheard,
            late=self._events.late,
            evicted=outbox.evicted,
            refused=self._refusals.publications,
            ignored_commands=0 if self._commands is None else self._commands.ignored,
        )

    @override
    def close(self, timeout_s: float) -> None:
        if not self._link.started:
            return
        deadline_s = self._monotonic_s() + timeout_s
        self._work()
        self._publish_due()
        if self._is_up:
            # The last word: whoever disconnects in order gets no will published.
            self._closing = True
            self._states.available(homeassistant.OFFLINE)
            self._publish_due()
            while self._has_unanswered and (left_s := deadline_s - self._monotonic_s()) > 0:
                self._take(self._link.reports(left_s))
                self._publish_due()
        self._link.stop(max(0.2, deadline_s - self._monotonic_s()))
        self._events.settle(at_stop=True)
        self._outbox.close(max(0.2, deadline_s - self._monotonic_s()))
        self._tell_undelivered()

    @property
    def _has_unanswered(self) -> bool:
        return self._is_up and bool(self._states.in_flight or self._events.in_flight)

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
            self._states.restore(self._publications(last))
        for ended in self._ledger.left_open(left):
            log.warning("mqtt.episode_cut_short", episode_id=ended.episode_id, event_id=ended.event_id)
            self._keep(ended, self._publications(ended))

    def _keep(self, message: AnyMessage, made: list[Publication]) -> bool:
        """Put what must not be lost into the outbox; whether there is an alarm among it."""
        change = self._ledger.change(message)
        items = mqtt_events.items(message, made, self._settings.event_expiry_s)
        self._outbox.put(*items, remember=change.remember, forget=change.forget)
        self._states.remember(made)
        return any(item.kind in mqtt_events.ALARMS for item in items)

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
        if self._is_up and self._states.is_hub_waiting(self._monotonic_s()):
            self._announce()
        self._attend_twin()

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
                    self._limits.dropped(report.tickets, self._monotonic_s())
                    for ticket in report.tickets:
                        self._states.dropped(ticket)
                        self._events.dropped(ticket)
                case Subscribed():
                    self._refusals.subscribed(report)
                case Incoming():
                    self._on_incoming(report)

    def _on_connected(self, report: Connected) -> None:
        self._connections += 1
        self._events.link_lost()
        self._limits.connected(report.limits)
        if not self._link.unsteady:  # which has been told, once
            self._told = None
            log.info("mqtt.connected", broker=self._settings.address, protocol=report.protocol)
        # Some brokers hang up at a forbidden topic: where one drops us, we do without the optional ones.
        asks = self._twin.watches and not self._link.unsteady
        self._twin.connected(self._monotonic_s(), asks=asks)
        self._subscribe(watch=asks)

    def _subscribe(self, *, watch: bool) -> None:
        # QoS 0 where what was said while we were away must not come later: a claim of a twin that is gone,
        # or what a parent pressed an hour ago.
        self._refusals.link_lost()
        if watch:
            for topic in (self._topics.instance, self._topics.availability):
                self._link.subscribe(topic, qos=0)  # where the access list forbids it we do without
        if self._settings.discovery:
            if is_folded(self._settings):
                self._link.subscribe(self._topics.discovery)
            topic = self._settings.birth_topic
            self._refusals.subscribing(topic, self._link.subscribe(topic))
        if self._commands is not None:
            topic = self._topics.set_filter
            self._refusals.subscribing(topic, self._link.subscribe(topic, qos=0))

    def _on_disconnected(self, report: Disconnected) -> None:
        if report.fault != self._told and not self._link.unsteady:
            log.warning("mqtt.disconnected", fault=str(report.fault))
        self._told = report.fault
        self._twin.link_lost()
        self._limits.link_lost(held=report.held)
        self._hurry_at_s = self._monotonic_s() + self._settings.reconnect_max_s
        self._events.link_lost()
        self._withdraw()

    def _on_acknowledged(self, report: Acknowledged) -> None:
        self._twin.answered(report.ticket)
        self._limits.answered(report.ticket)
        state = self._states.answered(report.ticket)
        if state is None:
            topic = self._events.acknowledged(report.ticket, report.code, failed=report.failed)
        else:
            topic = state.topic
            if not report.failed:
                self._events.state_acknowledged(state.number)
        if topic is not None:
            self._refusals.published(topic, report)

    def _on_incoming(self, report: Incoming) -> None:
        control = self._topics.control_of(report.topic)
        if control is not None:
            # Where another reports, it is for that one.
            if self._commands is not None and not self._twin.has_other:
                self._commands.heard(control, report, self._monotonic_s())
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
                self._states.available(homeassistant.ONLINE)
        elif report.topic == self._settings.birth_topic and report.payload == b"online" and not report.retain:
            self._states.hub_came(self._monotonic_s())

    # --- another with our id --------------------------------------------------------------------

    def _attend_twin(self) -> None:
        if self._closing:
            return
        for publication in self._twin.due(self._monotonic_s(), alarm_waits=self._events.alarm_waits()):
            self._twin.sent(publication, self._link.send(publication))
        reports = self._twin.role is Role.REPORTS
        if reports and not self._announced:
            self._announced = True
            self._announce()
        elif not reports and self._announced:
            self._withdraw()

    def _withdraw(self) -> None:
        """The topics are not ours for now, or there is nobody to publish to."""
        self._announced = False
        self._states.withdraw()
        self._announcement.due = False

    # --- publishing -------------------------------------------------------------------------------

    def _announce(self) -> None:
        """Say all that a hub has to know: how it is, that it is valid, and last what there is."""
        self._events.listener_came()
        self._states.all_due()
        self._announcement.ask()

    def _publish_due(self) -> None:
        """Publish states, then events, so that the state is right when the event fires; all else is last."""
        if not self._is_up:
            return
        if self._limits.careful:
            self._publish_carefully()
        else:
            self._publish_states(self._states.due())
            self._publish_events()
        if self._announcement.due and not self._closing and not self._has_unanswered:
            # Alone, for it is the one message that a broker may drop us for.
            self._announcement.due = False
            self._publish_states([self._announcement.publication])

    def _publish_carefully(self) -> None:
        """Each kind one by one: an event does not wait for a state that gets no answer."""
        if not self._events.in_flight:
            self._publish_events(at_most=1)
        for state in self._states.due(small_first=True):
            if self._limits.has_unanswered:
                return
            self._publish_states([state])

    def _publish_states(self, states: list[Publication]) -> None:
        for state in states:
            if not self._limits.fits(state, self._monotonic_s()):
                self._states.left_out(state)
            elif (ticket := self._link.send(state)) is not None:
                self._states.sent(state, ticket, self._events.state_sent())
                self._limits.sent(ticket, state)

    def _publish_events(self, at_most: int | None = None) -> None:
        fitting = (
            outgoing
            for outgoing in self._events.due()
            if self._limits.fits(outgoing.publication, self._monotonic_s())
        )
        for outgoing in itertools.islice(fitting, at_most):
            ticket = self._link.send(outgoing.publication)
            if ticket is None:
                return
            self._events.sent(ticket, outgoing)
            self._limits.sent(ticket, outgoing.publication)

    def _publish_again(self) -> None:
        """Say again what was refused, and what lets events settle where no state is on its way to do so."""
        if not self._is_up:
            return
        now_s = self._monotonic_s()
        self._states.try_refused(
            lambda topic: self._refusals.is_refused(topic) or self._limits.is_trial_due(topic, now_s), now_s
        )
        if self._limits.is_trial_due(self._topics.discovery, now_s):
            self._announcement.ask()
        if self._events.settling and self._states.is_idle:
            self._states.available(homeassistant.ONLINE)
        if self._link.has_held:
            self._limits.steady()
        self._publish_due()

    def _hurry(self) -> None:
        """An alarm does not wait out the pause that a broker gets which drops us each time."""
        now_s = self._monotonic_s()
        if not self._link.connected and now_s >= self._hurry_at_s and self._events.alarm_waits():
            self._hurry_at_s = now_s + self._settings.reconnect_max_s
            self._link.hurry()
