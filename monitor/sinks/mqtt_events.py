"""Events on their way to the broker: kept in the outbox until it has them, in order, never late as news.

What is still news goes to the topic of alarms. What became too old while the broker was away goes to
the topic of late events, where nobody raises an alarm: nothing is lost and nothing alarms late.

With MQTT 5 an event is removed only when the broker has said that it took it. An acknowledgement of
MQTT 3.1.1 carries no reason: a broker whose access list forbids the topic acknowledges and drops.

A broker may also say that it took it and die before it has saved it. Mosquitto acknowledges first and saves
later, even with autosave_on_changes: 3 of 195 kills cost what it had acknowledged (tests/soak/kills.py).
So an event stays in the outbox for two more rounds with the broker: a retained state, which makes it save,
and another, which it answers only after that. When the connection is lost before, the event is sent again,
and its id tells a consumer that it is the same.

And it may have nobody to give it to, for the hub restarts: what MQTT 5 calls "no matching subscribers" is
tried again while the event is news.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import structlog

from monitor.messages import AnyMessage, EpisodeMessage, TestMessage
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_reports import Ticket
from monitor.sinks.mqtt_settings import Publication
from monitor.sinks.outbox import Entry, Item, Outbox

log = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 5.0
LAST_PAUSE_S: Final = 300.0
"""Between tries at a topic that the broker refuses us."""

_ROUNDS: Final = 2

RETRY_UNHEARD_S: Final = 10.0
"""Between tries of events that nobody subscribed to; a birth message of the hub cuts it short."""

_NO_MATCHING_SUBSCRIBERS: Final = 16
"""A success of MQTT 5 (OASIS standard, section 3.4.2.1). Brokers need not tell, and many do."""

ALARMS: Final = frozenset({"started", "escalated", "test"})


@dataclass(frozen=True, slots=True)
class Outgoing:
    entry: Entry
    publication: Publication


@dataclass(slots=True)
class _Settling:
    """Acknowledged; the next round counts when its publication was sent after ``after``."""

    key: str
    after: int
    rounds: int = _ROUNDS


@dataclass(frozen=True, slots=True)
class _Refusal:
    retry_at_s: float
    pause_s: float


def items(message: AnyMessage, made: list[Publication], expiry_s: int) -> list[Item]:
    """What has to be kept of the publications of a message."""
    match message:
        case EpisodeMessage(event_type="updated"):
            return []  # the state tells it
        case EpisodeMessage():
            kind: str = message.event_type
        case TestMessage():
            kind = "test"
        case _:
            return []
    return [Item(event.key, kind, event.payload, lasts_s=expiry_s) for event in made if not event.retain]


class EventDelivery:
    """Says which events to publish and keeps account of the answers. The sink's thread owns it."""

    def __init__(
        self, outbox: Outbox, topics: Topics, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._outbox = outbox
        self._topics = topics
        self._monotonic_s = monotonic_s
        self._in_flight: dict[Ticket, Outgoing] = {}
        self._settling: dict[int, _Settling] = {}
        self._states_sent = 0
        self._unheard: set[int] = set()
        self._retry_unheard_at_s = 0.0
        self._refusals: dict[str, _Refusal] = {}
        self.late = 0

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def settling(self) -> int:
        """Events that the broker acknowledged and has perhaps not saved yet."""
        return len(self._settling)

    @property
    def unheard(self) -> int:
        """Events that the broker took and had nobody to give to."""
        return len(self._unheard)

    @property
    def waiting(self) -> int:
        """Events that the broker has not acknowledged with success."""
        return max(0, self._outbox.waiting() - len(self._settling) - len(self._unheard))

    def due(self) -> Iterator[Outgoing]:
        """What to publish now, oldest first; whoever takes one calls ``sent`` before the next."""
        self.settle()
        under_way = {outgoing.entry.number for outgoing in self._in_flight.values()} | self._settling.keys()
        waiting = [
            Outgoing(entry, self._publication(entry))
            for entry in self._outbox.pending()
            if entry.number not in under_way and not self._is_stale(entry)
        ]
        possible = [outgoing for outgoing in waiting if self._may_try(outgoing.publication.topic)]
        # A new event takes those along that nobody heard: an end must not come before its start.
        if self._monotonic_s() >= self._retry_unheard_at_s or any(
            outgoing.publication.topic == self._topics.cry and outgoing.entry.number not in self._unheard
            for outgoing in possible
        ):
            self._unheard.clear()
        for outgoing in possible:
            if outgoing.entry.number not in self._unheard and self._may_try(outgoing.publication.topic):
                yield outgoing

    def sent(self, ticket: Ticket, outgoing: Outgoing) -> None:
        self._in_flight[ticket] = outgoing

    def state_sent(self) -> int:
        """Count a retained state that is sent; the number is for ``state_acknowledged``."""
        self._states_sent += 1
        return self._states_sent

    def state_acknowledged(self, number: int) -> None:
        """Count a round for each event that was acknowledged before this state was sent."""
        for settling in self._settling.values():
            if number > settling.after:
                settling.rounds -= 1
                settling.after = self._states_sent

    def acknowledged(self, ticket: Ticket, code: int, *, failed: bool) -> str | None:
        """Take note of an answer of the broker; the topic, or None when the ticket is not an event's."""
        outgoing = self._in_flight.get(ticket)
        if outgoing is None:
            return None
        topic = outgoing.publication.topic
        if failed:
            self._on_refused(topic)
        else:
            self._refusals.pop(topic, None)
            if code == _NO_MATCHING_SUBSCRIBERS and topic == self._topics.cry:
                self._on_unheard(outgoing.entry)
            else:
                self._on_accepted(outgoing)
        del self._in_flight[ticket]
        return topic

    def dropped(self, ticket: Ticket) -> None:
        """The link went down before an answer came: the event waits again."""
        self._in_flight.pop(ticket, None)

    def link_lost(self) -> None:
        """Whoever we were connected to may have died before it saved what it acknowledged."""
        self.settle()
        self._settling.clear()
        self._unheard.clear()

    def alarm_came(self) -> None:
        """A topic that was refused is tried at once: the access list may have been put right meanwhile."""
        self._refusals = {topic: replace(old, retry_at_s=-math.inf) for topic, old in self._refusals.items()}

    def listener_came(self) -> None:
        """Somebody may hear now what nobody heard before."""
        self._unheard.clear()

    def settle(self, *, at_stop: bool = False) -> None:
        """Remove from the outbox what the broker has for sure; at a stop, all that it acknowledged."""
        settled = {
            number: settling.key
            for number, settling in self._settling.items()
            if at_stop or settling.rounds <= 0
        }
        if settled:
            # In this order: another thread that asks for alarms must not see them wait again.
            self._outbox.done(*settled.values())
            for number in settled:
                del self._settling[number]

    def alarm_waits(self) -> bool:
        """Whether an alarm that is still news has not arrived: no broker, or nobody behind it. Any thread."""
        return any(
            entry.item.kind in ALARMS
            and entry.number not in self._settling
            and not self._outbox.is_expired(entry)
            for entry in self._outbox.pending()
        )

    def _on_accepted(self, outgoing: Outgoing) -> None:
        item = outgoing.entry.item
        self._settling[outgoing.entry.number] = _Settling(item.key, self._states_sent)
        if outgoing.publication.topic == self._topics.late:
            self.late += 1
            log.warning("mqtt.event_late", kind=item.kind, event_id=item.key)

    def _on_unheard(self, entry: Entry) -> None:
        if not self._unheard:
            log.warning("mqtt.nobody_listens", topic=self._topics.cry, event_id=entry.item.key)
            # Where an event is news for a short time only, it has to be tried again within that.
            pause_s = min(RETRY_UNHEARD_S, (entry.item.lasts_s or math.inf) / 3)
            self._retry_unheard_at_s = self._monotonic_s() + pause_s
        self._unheard.add(entry.number)

    def _publication(self, entry: Entry) -> Publication:
        if self._outbox.is_expired(entry):
            return Publication(self._topics.late, entry.item.payload, retain=False)
        left_s = None
        if entry.item.lasts_s is not None:
            left_s = max(1, int(entry.item.lasts_s - self._outbox.age_s(entry)))
        return Publication(self._topics.cry, entry.item.payload, retain=False, expiry_s=left_s)

    def _is_stale(self, entry: Entry) -> bool:
        """Drop an escalation that is no news: the end of its episode says how far it went."""
        if entry.item.kind != "escalated" or not self._outbox.is_expired(entry):
            return False
        log.info("mqtt.escalation_outdated", event_id=entry.item.key)
        self._outbox.done(entry.item.key)
        return True

    def _may_try(self, topic: str) -> bool:
        """A topic that was refused is tried now and then, with one event."""
        refusal = self._refusals.get(topic)
        if refusal is None:
            return True
        trying = any(outgoing.publication.topic == topic for outgoing in self._in_flight.values())
        return not trying and self._monotonic_s() >= refusal.retry_at_s

    def _on_refused(self, topic: str) -> None:
        now_s = self._monotonic_s()
        before = self._refusals.get(topic)
        if before is not None and now_s < before.retry_at_s:
            return  # the answers to what was on its way together with the first
        pause_s = FIRST_PAUSE_S if before is None else min(2 * before.pause_s, LAST_PAUSE_S)
        self._refusals[topic] = _Refusal(now_s + pause_s, pause_s)
