"""Messages to an MQTT broker, for Home Assistant and for everybody else who subscribes.

States are retained and sent anew whenever somebody may have forgotten them: on every connection,
for the broker may have lost its store, and when Home Assistant says that it has started. Events
wait while the broker is away, in order and until they are too old to be news.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog
from typing_extensions import override

from monitor import __version__
from monitor.errors import RetryableSinkError
from monitor.messages import AnyMessage
from monitor.sinks import homeassistant, mqtt_faults
from monitor.sinks.base import Sink
from monitor.sinks.mqtt_client import Acknowledged, Dropped, Incoming, Subscribed, Ticket
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_link import Connected, Disconnected, LinkReport, MqttLink
from monitor.sinks.mqtt_settings import MqttSettings, Publication

log = structlog.get_logger(__name__)


def _up_to_two_seconds() -> float:
    return random.uniform(0.0, 2.0)


@dataclass(frozen=True, slots=True)
class _Event:
    publication: Publication
    since_s: float


@dataclass(frozen=True, slots=True)
class MqttStats:
    connected: bool
    connections: int
    """Times that a connection was made."""
    waiting: int
    """Events not yet acknowledged by the broker."""
    expired: int
    """Events that were too old to be news when the broker came back."""
    refused: int
    """Publications that the broker acknowledged with a failure."""


class MqttSink(Sink):
    """Publishes to one broker. The link is watched and kept by ``handle`` and ``tick``.

    ``jitter_s`` spreads the answers of many devices to Home Assistant's start.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        jitter_s: Callable[[], float] = _up_to_two_seconds,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._jitter_s = jitter_s
        self._monotonic_s = monotonic_s
        self._topics = homeassistant.Topics.of(settings)
        self._link = MqttLink(settings, will=homeassistant.availability(self._topics, homeassistant.OFFLINE))
        calm = homeassistant.calm(self._topics)
        self._states: dict[str, Publication] = {calm.topic: calm}
        self._waiting: dict[str, _Event] = {}
        self._in_flight: dict[Ticket, Publication | _Event] = {}
        self._denied: dict[str, Fault] = {}
        self._announced = False
        self._announce_at_s: float | None = None
        self._told: Fault | None = None
        self._connections = self._expired = self._refused = 0

    @property
    @override
    def name(self) -> str:
        return "mqtt"

    @override
    def open(self) -> None:
        self._link.start()

    @override
    def handle(self, message: AnyMessage) -> None:
        self._work()
        made = homeassistant.publications(message, self._topics, event_expiry_s=self._settings.event_expiry_s)
        events = [publication for publication in made if not publication.retain]
        if any(self._has_no_room_for(event) for event in events):
            raise RetryableSinkError(
                f"{self._settings.max_waiting} events wait for the MQTT broker at "
                f"{self._settings.address} already.",
                self.fault(),
            )
        for state in (publication for publication in made if publication.retain):
            self._states[state.topic] = state
            if self._is_up:
                self._send_state(state)
        for event in events:
            self._waiting.pop(event.key, None)
            self._waiting[event.key] = _Event(event, self._monotonic_s())
        self._send_events()

    @override
    def tick(self) -> None:
        self._work()
        self._link.supervise()

    @override
    def fault(self) -> str:
        fault = self._link.fault() or next(iter(tuple(self._denied.values())), None)
        return "" if fault is None else str(fault)

    def stats(self) -> MqttStats:
        return MqttStats(
            connected=self._link.connected,
            connections=self._connections,
            waiting=len(self._waiting) + self._events_in_flight(),
            expired=self._expired,
            refused=self._refused,
        )

    @override
    def close(self, timeout_s: float) -> None:
        if not self._link.started:
            return
        deadline_s = self._monotonic_s() + timeout_s
        self._work()
        if self._is_up:
            # The last word: whoever disconnects in order gets no will published.
            self._send_state(homeassistant.availability(self._topics, homeassistant.OFFLINE))
            while self._is_up and self._in_flight and (left_s := deadline_s - self._monotonic_s()) > 0:
                self._take(self._link.reports(left_s))
                self._send_events()
        undelivered = len(self._waiting) + self._events_in_flight()
        if undelivered:
            log.error("mqtt.undelivered_at_stop", events=undelivered, fault=self.fault())
        self._link.stop(max(0.2, deadline_s - self._monotonic_s()))

    # --- the link ---------------------------------------------------------------------------------

    @property
    def _is_up(self) -> bool:
        return self._announced and self._link.connected

    def _work(self) -> None:
        self._take(self._link.reports())
        if self._announce_at_s is not None and self._monotonic_s() >= self._announce_at_s:
            self._announce()
        self._forget_old_news()
        self._send_events()

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
                    self._on_dropped(report)
                case Subscribed():
                    self._note(self._settings.birth_topic, report, "subscribe")
                case Incoming():
                    self._on_incoming(report)

    def _on_connected(self, report: Connected) -> None:
        self._connections += 1
        self._told = None
        log.info("mqtt.connected", broker=self._settings.address, protocol=report.protocol)
        if self._settings.discovery:
            self._link.subscribe(self._settings.birth_topic)
        self._announced = True
        self._announce()

    def _on_disconnected(self, report: Disconnected) -> None:
        if report.fault != self._told:
            log.warning("mqtt.disconnected", fault=str(report.fault))
        self._told = report.fault
        self._announced = False
        self._announce_at_s = None

    def _on_acknowledged(self, report: Acknowledged) -> None:
        sent = self._in_flight.pop(report.ticket, None)
        if sent is None:
            return
        publication = sent.publication if isinstance(sent, _Event) else sent
        self._refused += report.failed
        self._note(publication.topic, report, "publish")

    def _note(self, topic: str, answer: Acknowledged | Subscribed, verb: str) -> None:
        """Keep a refusal as a fault until the same topic is granted; log it once."""
        key = f"{verb} {topic}"
        if not answer.failed:
            self._denied.pop(key, None)
        elif key not in self._denied:
            self._denied[key] = mqtt_faults.not_permitted(
                self._settings, topic, answer.code, answer.reason, verb
            )
            log.error("mqtt.not_permitted", fault=str(self._denied[key]))

    def _on_dropped(self, report: Dropped) -> None:
        """Events that got no answer go first again, in their order; states are sent anew anyhow."""
        sent = [self._in_flight.pop(ticket, None) for ticket in report.tickets]
        again = {item.publication.key: item for item in sent if isinstance(item, _Event)}
        self._waiting = {key: item for key, item in again.items() if key not in self._waiting} | self._waiting

    def _on_incoming(self, report: Incoming) -> None:
        # A retained birth message comes with our own subscription, when all has just been sent.
        born = report.topic == self._settings.birth_topic and report.payload == b"online"
        if born and not report.retain:
            self._announce_at_s = self._monotonic_s() + self._jitter_s()

    # --- publishing -------------------------------------------------------------------------------

    def _announce(self) -> None:
        """Say all that a hub has to know: what there is, how it is, and last that it is valid."""
        self._announce_at_s = None
        first = [homeassistant.discovery(self._settings, self._topics, __version__)]
        last = homeassistant.availability(self._topics, homeassistant.ONLINE)
        known = [*(first if self._settings.discovery else []), *self._states.values(), last]
        for publication in known:
            self._send_state(publication)

    def _send_state(self, publication: Publication) -> None:
        ticket = self._link.send(publication)
        if ticket is None:
            # paho is full because the broker does not acknowledge: say all again a little later.
            self._announce_at_s = self._monotonic_s() + 1.0
        else:
            self._in_flight[ticket] = publication

    def _send_events(self) -> None:
        while self._is_up and self._waiting:
            key = next(iter(self._waiting))
            event = self._waiting[key]
            left_s = max(1, int(self._settings.event_expiry_s - self._age_s(event)))
            ticket = self._link.send(replace(event.publication, expiry_s=left_s))
            if ticket is None:
                return
            del self._waiting[key]
            self._in_flight[ticket] = event

    def _forget_old_news(self) -> None:
        old = [
            key for key, event in self._waiting.items() if self._age_s(event) >= self._settings.event_expiry_s
        ]
        for key in old:
            event = self._waiting.pop(key)
            self._expired += 1
            log.error("mqtt.event_expired", topic=event.publication.topic, key=key)

    def _age_s(self, event: _Event) -> float:
        return self._monotonic_s() - event.since_s

    def _events_in_flight(self) -> int:
        return sum(isinstance(sent, _Event) for sent in tuple(self._in_flight.values()))

    def _has_no_room_for(self, event: Publication) -> bool:
        if event.key in self._waiting:
            return False
        return len(self._waiting) + self._events_in_flight() >= self._settings.max_waiting
