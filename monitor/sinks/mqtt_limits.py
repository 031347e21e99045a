"""What the broker at the other end takes, as it says with MQTT 5, and what is left out for it."""

from __future__ import annotations

from monitor.sinks import mqtt_faults
from monitor.sinks.mqtt_refusals import Refusals
from monitor.sinks.mqtt_reports import Limits
from monitor.sinks.mqtt_settings import MqttSettings, Publication


class BrokerLimits:
    """Holds for one connection; what does not fit is a refusal until it does. One thread."""

    def __init__(self, settings: MqttSettings, refusals: Refusals) -> None:
        self._settings = settings
        self._refusals = refusals
        self._limits = Limits()
        self._too_large: set[str] = set()

    def connected(self, limits: Limits) -> None:
        """A new connection, perhaps with another broker."""
        self._limits = limits
        for topic in tuple(self._too_large):
            self._let_pass(topic)
        faults = {
            "qos": mqtt_faults.no_confirmation(self._settings) if limits.qos == 0 else None,
            "retain": None if limits.retain else mqtt_faults.no_retaining(self._settings),
        }
        for name, fault in faults.items():
            if fault is None:
                self._refusals.lift(f"limit {name}")
            else:
                self._refusals.keep(f"limit {name}", fault)

    def fits(self, publication: Publication) -> bool:
        """Whether the broker takes so large a packet; says so where it does not."""
        topic, size = publication.topic, self._limits.size(publication)
        limit = self._limits.packet_bytes
        if limit is None or size <= limit:
            self._let_pass(topic)
            return True
        self._too_large.add(topic)
        self._refusals.keep(f"limit of {topic}", mqtt_faults.too_large(self._settings, topic, size, limit))
        return False

    def _let_pass(self, topic: str) -> None:
        self._too_large.discard(topic)
        self._refusals.lift(f"limit of {topic}")
