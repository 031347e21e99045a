"""The announcement to Home Assistant: our largest message by far, sent last, unless another has its topic."""

from __future__ import annotations

import structlog

from monitor.sinks import mqtt_faults
from monitor.sinks.hub_topics import owner_of
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_settings import MqttSettings, Publication

log = structlog.get_logger(__name__)


class Announcement:
    """Says when to send ``publication``. One thread."""

    def __init__(self, settings: MqttSettings, publication: Publication) -> None:
        self._settings = settings
        self.publication = publication
        self._other: str | None = None
        self.due = False
        """It is to be sent when nothing else is on its way."""

    @property
    def fault(self) -> Fault | None:
        """That it is left out, and why."""
        return None if self._other is None else mqtt_faults.same_entities(self._settings, self._other)

    def ask(self) -> None:
        self.due = self._settings.discovery and self._other is None

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
