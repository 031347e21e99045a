"""Take a device out of the hub: for ``cradlewatch hub remove``."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

from monitor.errors import PermanentSinkError, RetryableSinkError, SinkError
from monitor.sinks import mqtt_faults
from monitor.sinks.hub_component import ONLINE
from monitor.sinks.hub_topics import Topics, is_folded, owner_of
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_link import Connected, Disconnected, LinkReport, MqttLink
from monitor.sinks.mqtt_reports import Acknowledged, Dropped, Incoming, Subscribed
from monitor.sinks.mqtt_settings import MqttSettings, Publication

SILENCE_S: Final = 1.0
"""A retained message comes with the subscription; who hears nothing for so long after it hears none."""


@dataclass(frozen=True, slots=True)
class Removed:
    topics: tuple[str, ...]
    """Cleared, the discovery topic first."""
    availability: str | None
    """What the broker held; None where it held nothing or may not tell us."""
    protocol: str


class DeviceOnlineError(PermanentSinkError):
    """The service runs and would announce the device again at once."""


def remove(settings: MqttSettings, timeout_s: float, *, force: bool = False) -> Removed:
    """Publish an empty retained message to every retained topic of the device.

    Connects under a client name of its own. Raises DeviceOnlineError while the service runs, unless
    forced, and another SinkError where the broker cannot be reached or does not permit it.
    """
    one_off = replace(settings, client_id=f"{settings.effective_client_id}-remove", session_expiry_s=0)
    link = MqttLink(one_off)
    link.start()
    try:
        return _Removal(settings, link, time.monotonic() + timeout_s).run(force=force)
    finally:
        link.stop(timeout_s=2.0)


class _Removal:
    def __init__(self, settings: MqttSettings, link: MqttLink, deadline_s: float) -> None:
        self._settings = settings
        self._topics = Topics.of(settings)
        self._link = link
        self._deadline_s = deadline_s

    def run(self, *, force: bool) -> Removed:
        self._connect()
        availability = self._retained(self._topics.availability)
        if availability == ONLINE and not force:
            raise DeviceOnlineError(
                f'"{self._settings.device}" is online: its service would announce it again.',
                "Stop the service first (`systemctl stop cradlewatch`), or use --force if it runs no more.",
            )
        # The entities go first: emptied states would be told to them as news.
        topics = (*self._announced(), *self._topics.retained)
        for topic in topics:
            self._clear(topic)
        return Removed(topics, availability, self._link.protocol)

    def _connect(self) -> None:
        while not any(isinstance(report, Connected) for report in self._reports()):
            pass

    def _announced(self) -> tuple[str, ...]:
        """The discovery topic, unless a device with an id like ours has it."""
        topic = self._topics.discovery
        if is_folded(self._settings):
            there = self._retained(topic)
            if there is not None and owner_of(there.encode()) not in {None, self._settings.device}:
                return ()
        return (topic,)

    def _retained(self, topic: str) -> str | None:
        """What the broker holds there, or the beginning; None where it holds nothing or may not tell us."""
        self._link.subscribe(topic)
        listen_until_s = self._deadline_s
        while time.monotonic() < listen_until_s:
            for report in self._reports():
                match report:
                    case Incoming() if report.topic == topic:
                        return report.payload.decode(errors="replace")
                    case Subscribed(failed=True) if topic == self._topics.discovery:
                        return None
                    case Subscribed(failed=True):
                        raise _error(self._not_permitted(topic, report, "subscribe"))
                    case Subscribed():
                        listen_until_s = min(self._deadline_s, time.monotonic() + SILENCE_S)
        return None

    def _clear(self, topic: str) -> None:
        ticket = self._link.send(Publication(topic, "", retain=True))
        while True:
            for report in self._reports():
                match report:
                    case Acknowledged(ticket=answered) if answered == ticket:
                        if report.failed:
                            raise _error(self._not_permitted(topic, report, "publish"))
                        return
                    case Dropped() | Connected():
                        ticket = self._link.send(Publication(topic, "", retain=True))

    def _reports(self) -> list[LinkReport]:
        """What happens within a moment. Raises SinkError when time is up or the link is refused."""
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise RetryableSinkError(*_words(self._link.fault() or mqtt_faults.not_yet(self._settings)))
        reports = self._link.reports(min(left_s, 0.2))
        for report in reports:
            if isinstance(report, Disconnected) and report.final:
                raise _error(report.fault)
        return reports

    def _not_permitted(self, topic: str, answer: Acknowledged | Subscribed, verb: str) -> Fault:
        return mqtt_faults.not_permitted(self._settings, topic, answer.code, answer.reason, verb)


def _error(fault: Fault) -> SinkError:
    return PermanentSinkError(*_words(fault))


def _words(fault: Fault) -> tuple[str, str]:
    return fault.problem, fault.remedy
