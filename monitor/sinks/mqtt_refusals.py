"""What the broker does not take or permit, each kept as a fault until it does, and logged once."""

from __future__ import annotations

import structlog

from monitor.sinks import mqtt_faults
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_reports import Acknowledged, Subscribed
from monitor.sinks.mqtt_settings import MqttSettings

log = structlog.get_logger(__name__)


class Refusals:
    """The sink's thread owns it; ``first`` is for any."""

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._faults: dict[str, Fault] = {}
        self._asked: dict[int, str] = {}
        self.publications = 0
        """Publications that the broker acknowledged with a failure."""

    @property
    def first(self) -> Fault | None:
        return next(iter(tuple(self._faults.values())), None)

    def is_refused(self, topic: str) -> bool:
        """Whether the broker answered the last publication there with a failure."""
        return f"publish {topic}" in self._faults

    def keep(self, key: str, fault: Fault) -> None:
        if key not in self._faults:
            log.error("mqtt.not_permitted", fault=str(fault))
        self._faults[key] = fault

    def lift(self, key: str) -> None:
        """What was refused is granted; it does no harm where nothing was."""
        self._faults.pop(key, None)

    def link_lost(self) -> None:
        """Nobody will answer what was asked on that connection."""
        self._asked.clear()

    def subscribing(self, topic: str, mid: int | None) -> None:
        """The answer to this message id is about ``topic``. None, where we are offline, gets no answer."""
        if mid is not None:
            self._asked[mid] = topic

    def subscribed(self, answer: Subscribed) -> None:
        """Nothing is kept of topics that we can do without."""
        topic = self._asked.get(answer.mid)
        if topic is not None:
            self._note(topic, answer, "subscribe")

    def published(self, topic: str, answer: Acknowledged) -> None:
        self.publications += answer.failed
        self._note(topic, answer, "publish")

    def _note(self, topic: str, answer: Acknowledged | Subscribed, verb: str) -> None:
        key = f"{verb} {topic}"
        if not answer.failed:
            self.lift(key)
        else:
            self.keep(key, mqtt_faults.not_permitted(self._settings, topic, answer.code, answer.reason, verb))
