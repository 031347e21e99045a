"""One try whether the broker can be reached and takes what the service sends: for ``cradlewatch check``."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from monitor import __version__
from monitor.sinks import homeassistant, mqtt_faults
from monitor.sinks.homeassistant import Topics
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_limits import DROPS
from monitor.sinks.mqtt_link import Connected, Disconnected, LinkReport, MqttLink
from monitor.sinks.mqtt_reports import Acknowledged, Dropped, Incoming, Limits, Ticket
from monitor.sinks.mqtt_settings import MqttSettings, Publication
from monitor.sinks.mqtt_twin import Sign

ANSWER_S: Final = 1.0
"""A monitor that reports under our id answers sooner."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``problem`` and ``remedy`` are sentences for a person, empty when all is well."""

    ok: bool
    protocol: str
    """The MQTT version agreed on; empty when no connection was made."""
    round_trip_ms: float | None
    """From publishing to the broker's acknowledgement."""
    note: str = ""
    problem: str = ""
    remedy: str = ""


def probe(settings: MqttSettings, timeout_s: float, *, ours: Collection[str] = ()) -> ProbeResult:
    """Connect, publish what nobody keeps to our check topic, small and large, and say what happened.

    Connects under a client name of its own: a service that runs beside it keeps its connection. Asks whether
    another monitor reports under our device.id; ``ours`` are the instances that are no other. Raises
    PermanentSinkError for settings that no broker could ever accept.
    """
    link = MqttLink(replace(settings, client_id=f"{settings.effective_client_id}-check", session_expiry_s=0))
    link.start()
    try:
        return _Probe(link, settings, {settings.instance, *ours}).run(time.monotonic() + timeout_s)
    finally:
        link.stop(timeout_s=2.0)


class _Probe:
    """A small message, one as large as the announcement, and a question, one after the other."""

    def __init__(self, link: MqttLink, settings: MqttSettings, ours: Collection[str]) -> None:
        self._ours = ours
        self._link = link
        self._settings = settings
        self._topics = Topics.of(settings)
        self._small: Ticket | None = None
        self._large: Ticket | None = None
        self._question: Ticket | None = None
        self._sent_s = 0.0
        self._round_trip_ms = 0.0
        self._drops = 0
        self._other: Sign | None = None
        self._listen_until_s: float | None = None

    def run(self, deadline_s: float) -> ProbeResult:
        while (left_s := deadline_s - time.monotonic()) > 0:
            for report in self._link.reports(min(left_s, 0.2)):
                result = self._answer_to(report)
                if result is not None:
                    return result
            if self._listen_until_s is not None and time.monotonic() >= self._listen_until_s:
                return self._succeeded()
        return self._failed(self._link.fault() or mqtt_faults.not_yet(self._settings))

    def _answer_to(self, report: LinkReport) -> ProbeResult | None:
        match report:
            case Connected():
                return self._on_connected(report.limits)
            case Acknowledged():
                return self._on_acknowledged(report)
            case Dropped() if self._large in report.tickets:
                self._drops += 1
                if self._drops >= DROPS:
                    return self._failed(
                        mqtt_faults.drops_announcement(self._settings, len(self._announcement))
                    )
            case Incoming() if report.topic == self._topics.instance:
                return self._on_sign(Sign.read(report.payload), retained=report.retain)
            case Disconnected(final=True):
                return self._failed(report.fault)
            case _:
                pass
        return None

    def _on_connected(self, limits: Limits) -> ProbeResult | None:
        fault = mqtt_faults.of_limits(self._settings, limits)
        discovery = homeassistant.discovery(self._settings, self._topics, __version__)
        size = limits.size(discovery)
        if self._settings.discovery and limits.packet_bytes is not None and size > limits.packet_bytes:
            fault = mqtt_faults.too_large(self._settings, discovery.topic, size, limits.packet_bytes)
        if fault is not None:
            return self._failed(fault)
        if self._settings.instance:
            self._link.subscribe(self._topics.instance)
        self._sent_s = time.monotonic()
        self._small = self._send("check")
        return None

    def _on_acknowledged(self, report: Acknowledged) -> ProbeResult | None:
        if report.failed and report.ticket in {self._small, self._large}:
            return self._failed(
                mqtt_faults.not_permitted(
                    self._settings, self._topics.check, report.code, report.reason, "publish"
                )
            )
        if report.ticket == self._small:
            self._round_trip_ms = (time.monotonic() - self._sent_s) * 1000
            if self._settings.discovery:
                self._large = self._send("x" * len(self._announcement))
            else:
                self._ask()
        elif report.ticket == self._large:
            self._ask()
        elif report.ticket == self._question:
            self._listen_until_s = time.monotonic() + (0.0 if self._other is None else ANSWER_S)
        return None

    def _ask(self) -> None:
        if not self._settings.instance:
            self._listen_until_s = time.monotonic()
            return
        settings = self._settings
        sign = Sign(settings.instance, settings.machine_name, asks=True, checks=True)
        self._question = self._link.send(sign.publication(self._topics))

    def _on_sign(self, sign: Sign | None, *, retained: bool) -> ProbeResult | None:
        if sign is None or sign.asks or sign.instance in self._ours:
            return None
        self._other = sign
        return None if retained else self._failed(mqtt_faults.stands_by(self._settings, sign.name))

    @property
    def _announcement(self) -> bytes:
        return homeassistant.discovery(self._settings, self._topics, __version__).payload.encode()

    def _send(self, payload: str) -> Ticket | None:
        return self._link.send(Publication(self._topics.check, payload, retain=False, expiry_s=1))

    def _succeeded(self) -> ProbeResult:
        notes = []
        if self._link.protocol != "5":
            notes.append("MQTT 3.1.1 cannot say whether the broker permits what we publish.")
        if self._other is not None:
            notes.append(f"{self._other.name} has reported under this device.id and gives no answer now.")
        return ProbeResult(
            ok=True,
            protocol=self._link.protocol,
            round_trip_ms=self._round_trip_ms,
            note=" ".join(notes),
        )

    def _failed(self, fault: Fault) -> ProbeResult:
        protocol = self._link.protocol if self._small is not None else ""
        return ProbeResult(
            ok=False, protocol=protocol, round_trip_ms=None, problem=fault.problem, remedy=fault.remedy
        )
