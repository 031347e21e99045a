"""The announcement to Home Assistant: our largest message by far, sent last, left out where it cannot pass.

Brokers limit packets. With MQTT 5 they say so; with 3.1.1, and some with 5, they just drop a client that
sends too much. An alarm must not wait behind a message that costs us the connection.
"""

from __future__ import annotations

from typing import Final

import structlog

from monitor.sinks import mqtt_faults
from monitor.sinks.hub_topics import owner_of
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_reports import Ticket
from monitor.sinks.mqtt_settings import MqttSettings, Publication

log = structlog.get_logger(__name__)

DROPS: Final = 2
"""Connections lost over the announcement, before it is taken for the reason."""


class Announcement:
    """Says when to send ``publication``, and keeps account of what became of it. One thread."""

    def __init__(self, settings: MqttSettings, publication: Publication) -> None:
        self._settings = settings
        self.publication = publication
        self._ticket: Ticket | None = None
        self._drops = 0
        self._other: str | None = None
        self.due = False

    @property
    def fault(self) -> Fault | None:
        """That it is left out, and why."""
        if self._other is not None:
            return mqtt_faults.same_entities(self._settings, self._other)
        if self._drops < DROPS:
            return None
        return mqtt_faults.drops_announcement(self._settings, len(self.publication.payload.encode()))

    def ask(self) -> None:
        """It is to be sent when nothing else is on its way."""
        self.due = self._settings.discovery and self.fault is None

    def heard(self, payload: bytes) -> None:
        """What the broker holds on our topic: another device with an id like ours keeps its entities."""
        owner = owner_of(payload)
        other = owner if owner not in {None, self._settings.device} else None
        if other == self._other:
            return
        self._other = other
        if other is not None:
            log.error("mqtt.same_entities", fault=str(self.fault))
        self.ask()

    def sent(self, ticket: Ticket) -> None:
        self.due = False
        self._ticket = ticket

    def answered(self, ticket: Ticket) -> None:
        """The broker has it, or said why not: it does not drop us over it."""
        if ticket == self._ticket:
            self._ticket, self._drops = None, 0

    def dropped(self, ticket: Ticket) -> None:
        """The connection went down before an answer came."""
        if ticket != self._ticket:
            return
        self._ticket = None
        self._drops += 1
        if self.fault is not None:
            log.error("mqtt.announcement_left_out", fault=str(self.fault))

    def link_lost(self, *, held: bool) -> None:
        """A connection that held has ended: what comes back may have another limit."""
        if held:
            self._drops = 0
