"""What the broker at the other end takes, and what is left out for it.

With MQTT 5 a broker says how much it takes. With 3.1.1, and some with 5, it just drops who sends more. So
connections that are lost over several publications make us careful: events go first, then states, one by
one, the small before the large. What costs the connection twice while nothing else was on its way is left
out, and tried again after a pause.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from monitor.sinks import mqtt_faults
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_refusals import Refusals
from monitor.sinks.mqtt_reports import Limits, Ticket
from monitor.sinks.mqtt_settings import MqttSettings, Publication

DROPS: Final = 2
"""Connections lost over a publication, before it is taken for the reason."""

LEAST_LIMIT_BYTES: Final = 256
"""A connection that is lost over less was lost for another reason."""

STATE_AGAIN_S: Final = 600.0
"""Pause before a state is tried again that costs the connection: each is a gap in what the hub shows."""
ALARM_AGAIN_S: Final = 5.0
"""The same for an event, and for the state that says whether a baby cries."""
AGAIN_AT_LAST_S: Final = 86_400.0
"""The pause doubles up to this."""


@dataclass(slots=True)
class _Suspect:
    drops: int = 0
    pause_s: float = 0.0
    try_at_s: float = 0.0


class BrokerLimits:
    """Says what may pass and keeps account of what connections were lost over. Pure; one thread."""

    def __init__(self, settings: MqttSettings, refusals: Refusals) -> None:
        self._settings = settings
        self._refusals = refusals
        self._limits = Limits()
        self._left_out: set[str] = set()
        self._unanswered: dict[Ticket, Publication] = {}
        self._suspects: dict[str, _Suspect] = {}
        self._passed_bytes = LEAST_LIMIT_BYTES
        """What the broker has taken is not what it drops us for."""
        self._losses = 0
        """Connections in a row that were lost, and it is not clear over what."""

    @property
    def careful(self) -> bool:
        """One at a time: to find out what connections are lost over."""
        return self._losses >= DROPS

    @property
    def has_unanswered(self) -> bool:
        return bool(self._unanswered)

    def connected(self, limits: Limits) -> None:
        """A new connection, perhaps with another broker."""
        self._limits = limits
        for key in self._left_out - self._suspects.keys():
            self._let_pass(key)
        faults = {
            "qos": mqtt_faults.no_confirmation(self._settings) if limits.qos == 0 else None,
            "retain": None if limits.retain else mqtt_faults.no_retaining(self._settings),
        }
        for name, fault in faults.items():
            if fault is None:
                self._refusals.lift(f"limit {name}")
            else:
                self._refusals.keep(f"limit {name}", fault)

    def fits(self, publication: Publication, now_s: float) -> bool:
        """Whether the broker takes so large a packet; says so where it does not."""
        size, limit = self._limits.size(publication), self._limits.packet_bytes
        if limit is not None and size > limit:
            fault = mqtt_faults.too_large(self._settings, publication.topic, size, limit)
            self._leave_out(publication.topic, fault)
            return False
        key = _key(publication)
        if key not in self._suspects:
            self._let_pass(publication.topic)
            self._let_pass(key)
            return True
        return now_s >= self._suspects[key].try_at_s

    def is_trial_due(self, topic: str, now_s: float) -> bool:
        """Whether the state that was left out for the connections that it cost may be tried again."""
        suspect = self._suspects.get(topic)
        is_left_out = suspect is not None and suspect.drops >= DROPS and now_s >= suspect.try_at_s
        return is_left_out and all(topic != sent.topic for sent in self._unanswered.values())

    def sent(self, ticket: Ticket, publication: Publication) -> None:
        self._unanswered[ticket] = publication

    def answered(self, ticket: Ticket) -> None:
        """The broker has it, or said why not: it does not drop us over it."""
        publication = self._unanswered.pop(ticket, None)
        if publication is None:
            return
        self._passed_bytes = max(self._passed_bytes, self._limits.size(publication))
        if self._suspects.pop(_key(publication), None) is not None:
            self._let_pass(_key(publication))

    def link_lost(self, *, held: bool) -> None:
        """The connection ended. Where it had held, what comes back may have another limit."""
        tried = {_key(publication) for publication in self._unanswered.values()}
        if held and not tried & self._suspects.keys():
            self._suspects.clear()
        if held:
            self._losses = 0
            self._passed_bytes = LEAST_LIMIT_BYTES

    def dropped(self, tickets: Collection[Ticket], now_s: float) -> None:
        """The connection went down before an answer came."""
        lost = [self._unanswered.pop(ticket) for ticket in tickets if ticket in self._unanswered]
        if len(lost) == 1:
            if self._limits.size(lost[0]) > self._passed_bytes:
                self._suspect(lost[0], now_s)
        elif lost:
            self._losses += 1

    def steady(self) -> None:
        """The connection holds."""
        self._losses = 0

    def _suspect(self, publication: Publication, now_s: float) -> None:
        key = _key(publication)
        suspect = self._suspects.setdefault(key, _Suspect())
        suspect.drops += 1
        if suspect.drops < DROPS:
            return
        is_alarm = not publication.retain or publication.topic == Topics.of(self._settings).crying
        first_s = ALARM_AGAIN_S if is_alarm else STATE_AGAIN_S
        suspect.pause_s = min(2 * suspect.pause_s or first_s, AGAIN_AT_LAST_S)
        suspect.try_at_s = now_s + suspect.pause_s
        self._leave_out(key, mqtt_faults.drops_message(self._settings, publication))

    def _leave_out(self, key: str, fault: Fault) -> None:
        self._left_out.add(key)
        self._refusals.keep(f"limit of {key}", fault)

    def _let_pass(self, key: str) -> None:
        self._left_out.discard(key)
        self._refusals.lift(f"limit of {key}")


def _key(publication: Publication) -> str:
    """What another try is known by: a state changes on its topic, and an event stays as it is."""
    return publication.topic if publication.retain else publication.payload
