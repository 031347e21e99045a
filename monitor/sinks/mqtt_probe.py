"""One try whether the broker can be reached and lets us publish: for ``cradlewatch check``."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from monitor.sinks import mqtt_faults
from monitor.sinks.homeassistant import Topics
from monitor.sinks.mqtt_client import Acknowledged
from monitor.sinks.mqtt_faults import Fault
from monitor.sinks.mqtt_link import Connected, Disconnected, MqttLink
from monitor.sinks.mqtt_settings import MqttSettings, Publication


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


def probe(settings: MqttSettings, timeout_s: float) -> ProbeResult:
    """Connect, publish one message that nobody keeps to our check topic, and say what happened.

    Connects under a client name of its own: a service that runs beside it keeps its connection.
    Raises PermanentSinkError for settings that no broker could ever accept.
    """
    link = MqttLink(replace(settings, client_id=f"{settings.effective_client_id}-check", session_expiry_s=0))
    link.start()
    try:
        return _try(link, settings, time.monotonic() + timeout_s)
    finally:
        link.stop(timeout_s=2.0)


def _try(link: MqttLink, settings: MqttSettings, deadline_s: float) -> ProbeResult:
    topic = Topics.of(settings).check
    sent_s = 0.0
    while (left_s := deadline_s - time.monotonic()) > 0:
        for report in link.reports(min(left_s, 0.2)):
            match report:
                case Connected():
                    sent_s = time.monotonic()
                    link.send(Publication(topic, "check", retain=False, expiry_s=1))
                case Acknowledged(failed=False):
                    return _succeeded(link.protocol, (time.monotonic() - sent_s) * 1000)
                case Acknowledged():
                    why = mqtt_faults.not_permitted(settings, topic, report.code, report.reason, "publish")
                    return _failed(why, link.protocol)
                case Disconnected(final=True):
                    return _failed(report.fault, "")
    return _failed(link.fault() or mqtt_faults.not_yet(settings), "")


def _succeeded(protocol: str, round_trip_ms: float) -> ProbeResult:
    note = "" if protocol == "5" else "MQTT 3.1.1 cannot say whether the broker permits what we publish."
    return ProbeResult(ok=True, protocol=protocol, round_trip_ms=round_trip_ms, note=note)


def _failed(fault: Fault, protocol: str) -> ProbeResult:
    return ProbeResult(
        ok=False, protocol=protocol, round_trip_ms=None, problem=fault.problem, remedy=fault.remedy
    )
