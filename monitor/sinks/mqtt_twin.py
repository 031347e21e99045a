"""Two monitors with one device.id: the second one notices, says so, and stays off the topics of the first.

A cloned SD card or a copied configuration gives two machines the same topics. The one that reports claims the
topic ``instance``, retained, with a key of its installation. One that finds the claim of another machine asks
there, and stands by as long as that answers. When nobody answers, the card was moved to a new
machine, and it takes over. It stands by for the hub alone: push and speaker alarm as ever.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import Final

import structlog

from monitor.sinks import mqtt_faults
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_reports import Ticket
from monitor.sinks.mqtt_settings import MqttSettings, Publication

log = structlog.get_logger(__name__)

ANSWER_WITHIN_S: Final = 20.0
"""A machine that was switched on together with us may still be starting."""
ALARM_WAITS_S: Final = 2.0
"""An alarm does not wait so long for a machine that gives no answer."""
ASK_EVERY_S: Final = 2.0
ASK_STANDING_BY_EVERY_S: Final = 10.0
GONE_AFTER_S: Final = 60.0
"""Without an answer the other is gone; a restart takes less."""
SEEN_FOR_S: Final = 60.0
"""How long we speak of one that has asked."""
NO_CLAIM_WITHIN_S: Final = 2.0
_LONGEST_NAME: Final = 64


class Role(Enum):
    ASKS = auto()
    """Connected, and it is not clear yet whose the topics are."""
    REPORTS = auto()
    STANDS_BY = auto()


@dataclass(frozen=True, slots=True)
class Sign:
    """What a monitor says on the topic of instances."""

    instance: str
    name: str
    asks: bool
    checks: bool = False
    """``cradlewatch check`` asks, not a monitor."""

    def publication(self, topics: Topics) -> Publication:
        """A claim is retained; a question is not, and leaves the claim there as it is."""
        return Publication(topics.instance, json.dumps(asdict(self)), retain=not self.asks)

    @classmethod
    def read(cls, payload: bytes) -> Sign | None:
        """None for what is none: an emptied topic, or somebody else's message."""
        try:
            match json.loads(payload):
                case {
                    "instance": str(instance),
                    "name": str(name),
                    "asks": bool(asks),
                    "checks": bool(checks),
                } if instance:
                    return cls(instance, name[:_LONGEST_NAME], asks, checks)
        except ValueError:  # also what is not text
            pass
        return None


class TwinWatch:
    """Decides whether we report. Pure: time and what was heard come in, what to publish goes out."""

    def __init__(self, settings: MqttSettings, topics: Topics) -> None:
        self._settings = settings
        self._topics = topics
        self.role = Role.ASKS
        self._other: Sign | None = None
        self._heard_at_s = 0.0
        self._ask_at_s = self._asked_since_s = math.inf
        self._seen: Sign | None = None
        self._seen_until_s = 0.0
        self._answer_due = False
        self._question: Ticket | None = None

    @property
    def watches(self) -> bool:
        """Without a key of the machine there is nothing to compare."""
        return bool(self._settings.instance)

    @property
    def has_other(self) -> bool:
        """Whether another reports here, or has done so before and may still."""
        return self._other is not None

    def connected(self, now_s: float, *, asks: bool = True) -> None:
        """A broker has let us in. Without ``asks`` it may hang up at our question, and alarms go first."""
        self._other = None
        self._ask_at_s = self._asked_since_s = now_s
        self._answer_due = False
        self.role = Role.ASKS if self.watches and asks else Role.REPORTS

    def link_lost(self) -> None:
        """Whose the topics are has to be asked again."""
        self.role, self._other = Role.ASKS, None
        self._ask_at_s = self._asked_since_s = math.inf

    def heard(self, sign: Sign, now_s: float, *, retained: bool) -> None:
        """Something came on the topic of instances, our own echo included."""
        if sign.instance == self._settings.instance:
            if retained and self.role is Role.ASKS:
                self._report()  # nobody has claimed it since us
        elif sign.asks:
            self._on_asked(sign, now_s)
        else:
            self._on_claim(sign, now_s, alive=not retained)

    def sent(self, publication: Publication, ticket: Ticket | None) -> None:
        """What was due is on its way; without a ticket there was no room for it."""
        self._question = None if publication.retain else ticket

    def answered(self, ticket: Ticket) -> None:
        """The broker has taken a publication of ours, perhaps our question."""
        if ticket == self._question:
            self._question = None
            self.nothing_claimed()

    def nothing_claimed(self) -> None:
        """The broker has our question, and had no claim of anybody before that, or may not tell."""
        if self.role is Role.ASKS and self._other is None:
            self._report()

    def due(self, now_s: float, *, alarm_waits: bool) -> Iterator[Publication]:
        """What to publish now; the role may change."""
        self._judge(now_s, alarm_waits=alarm_waits)
        if self._answer_due:
            self._answer_due = False
            yield self._sign(asks=False)
        if self.role is not Role.REPORTS and now_s >= self._ask_at_s:
            every_s = ASK_EVERY_S if self.role is Role.ASKS else ASK_STANDING_BY_EVERY_S
            self._ask_at_s = now_s + every_s
            yield self._sign(asks=True)

    def fault(self, now_s: float) -> Fault | None:
        """That there is another, on either side."""
        other = self._other
        if self.role is Role.STANDS_BY and other is not None:
            return mqtt_faults.stands_by(self._settings, other.name)
        if self.role is Role.ASKS and other is not None:
            return mqtt_faults.asks_twin(self._settings, other.name)
        if self._seen is not None and now_s < self._seen_until_s:
            return mqtt_faults.has_twin(self._settings, self._seen.name)
        return None

    def _judge(self, now_s: float, *, alarm_waits: bool) -> None:
        if self.role is Role.ASKS:
            patience_s = NO_CLAIM_WITHIN_S if self._other is None else ANSWER_WITHIN_S
            waited_s = now_s - self._asked_since_s
            if waited_s >= (min(patience_s, ALARM_WAITS_S) if alarm_waits else patience_s):
                self._report()
        elif self.role is Role.STANDS_BY:
            patience_s = 2 * ASK_STANDING_BY_EVERY_S if alarm_waits else GONE_AFTER_S
            if now_s - self._heard_at_s >= patience_s:
                self._report()

    def _on_asked(self, sign: Sign, now_s: float) -> None:
        if self.role is not Role.REPORTS:
            return
        self._answer_due = True
        if sign.checks:
            return
        if self._seen is None or now_s >= self._seen_until_s:
            log.error("mqtt.twin", fault=str(mqtt_faults.has_twin(self._settings, sign.name)))
        self._seen, self._seen_until_s = sign, now_s + SEEN_FOR_S

    def _on_claim(self, sign: Sign, now_s: float, *, alive: bool) -> None:
        if not alive:
            if self.role is Role.REPORTS:
                self._ask_at_s = self._asked_since_s = now_s  # the broker was slow to say so
            if self.role is not Role.STANDS_BY:
                self.role, self._other = Role.ASKS, sign
            return
        if self.role is Role.REPORTS and self._settings.instance < sign.instance:
            self._answer_due = True  # both took over at the same time: the lower key stays
            return
        if self.role is not Role.STANDS_BY:
            log.error("mqtt.stands_by", fault=str(mqtt_faults.stands_by(self._settings, sign.name)))
        self.role, self._other, self._heard_at_s = Role.STANDS_BY, sign, now_s

    def _report(self) -> None:
        if self._other is not None:
            log.warning("mqtt.takes_over", other=self._other.name)
        self.role, self._other = Role.REPORTS, None
        self._answer_due = self.watches

    def _sign(self, *, asks: bool) -> Publication:
        name = self._settings.machine_name
        return Sign(self._settings.instance, name, asks).publication(self._topics)
