"""The entities that say how the monitor itself is.

What changes with every heartbeat comes switched off, so that it fills no database unasked. The faults
do not expire: whoever waits for one must find it, and a heartbeat that stays away shows in ``health``.
"""

from __future__ import annotations

import math
from typing import Any

from monitor.sinks.hub_component import OFFLINE, ONLINE, Component, Components, details, linked, state
from monitor.sinks.hub_topics import Topics


def diagnostics(topics: Topics, heartbeat_s: float) -> Components:
    """``heartbeat_s``: longest pause between two health messages; three make them outdated."""
    expiry_s = math.ceil(3 * heartbeat_s)
    made = _faults(topics) | _condition(topics, expiry_s) | _figures(topics, expiry_s)
    return {
        key: Component(one.platform, {"entity_category": "diagnostic", **one.fields})
        for key, one in made.items()
    }


def _faults(topics: Topics) -> Components:
    # No availability: it shall say "disconnected", not vanish.
    connectivity = {
        "name": "Connectivity",
        "device_class": "connectivity",
        "state_topic": topics.availability,
        "payload_on": ONLINE,
        "payload_off": OFFLINE,
    }
    return {
        "connectivity": Component("binary_sensor", connectivity),
        "microphone_fault": _fault("Microphone fault", "microphone_ok", topics),
        "signal_fault": _fault("Signal fault", "signal_ok", topics),
    }


def _fault(name: str, field: str, topics: Topics) -> Component:
    fields = {
        "name": name,
        "device_class": "problem",
        **state(topics.health, f"'OFF' if value_json.{field} else 'ON'"),
        **details(topics.health, "{'reasons': value_json.reasons}"),
        **linked(topics),
    }
    return Component("binary_sensor", fields)


def _condition(topics: Topics, expiry_s: int) -> Components:
    health = {
        "name": "Health",
        "icon": "mdi:heart-pulse",
        "device_class": "enum",
        "options": ["ok", "degraded", "fault"],
        "expire_after": expiry_s,
        **state(topics.health, "value_json.state"),
        **details(topics.health, "{'reasons': value_json.reasons}"),
        **linked(topics),
    }
    delivery = {
        "name": "Alert delivery",
        "icon": "mdi:cellphone-message",
        "device_class": "enum",
        "options": ["none", "delivered", "retrying", "failed"],
        **state(topics.delivery, "value_json.state"),
        **details(topics.delivery),
        **linked(topics),
    }
    version = {
        "name": "Version",
        "icon": "mdi:package-variant-closed",
        **state(topics.health, "value_json.version"),
        **linked(topics),
    }
    # Two clocks make this instant, some milliseconds apart: to ten seconds it stays the same.
    began = "(as_timestamp(value_json.time) - value_json.uptime_s) / 10"
    started_at = {
        "name": "Started at",
        "device_class": "timestamp",
        **state(topics.health, f"((({began}) | round(0)) * 10) | as_datetime"),
        **linked(topics),
    }
    return {
        "health": Component("sensor", health),
        "alert_delivery": Component("sensor", delivery),
        "version": Component("sensor", version),
        "started_at": Component("sensor", started_at),
    }


def _figures(topics: Topics, expiry_s: int) -> Components:
    common = {"expire_after": expiry_s, **linked(topics)}
    share = {"unit_of_measurement": "%", "state_class": "measurement", "suggested_display_precision": 1}
    span = {"device_class": "duration", "state_class": "measurement"}

    def figure(name: str, counter: str, formula: str, **fields: Any) -> Component:
        value = f"value_json.counters.get('{counter}')"
        known = {"name": name, **state(topics.health, f"none if {value} is none else {formula % value}")}
        return Component("sensor", known | fields | common)

    quiet = {"enabled_by_default": False}
    return {
        "gate_rate": figure("Gate model awake", "gate_rate", "(%s * 100) | round(1)", **share, **quiet),
        "vad_rate": figure("Voice detected", "vad_rate", "(%s * 100) | round(1)", **share, **quiet),
        "detector_lag": figure(
            "Detector lag",
            "detector_lag_s",
            "%s | round(3)",
            unit_of_measurement="s",
            suggested_display_precision=2,
            **span,
            **quiet,
        ),
        "audio_lost": figure(
            "Audio lost",
            "audio_lost_s",
            "%s | round(1)",
            device_class="duration",
            state_class="total_increasing",
            unit_of_measurement="s",
            suggested_display_precision=1,
        ),
        "inference_time": figure(
            "Inference time",
            "inference_ms",
            "%s | round(2)",
            unit_of_measurement="ms",
            suggested_display_precision=1,
            **span,
            **quiet,
        ),
        "queue_depth": figure(
            "Queue depth",
            "queue_depth",
            "%s | round(0) | int",
            icon="mdi:tray-full",
            state_class="measurement",
            suggested_display_precision=0,
            **quiet,
        ),
        "cpu_temperature": figure(
            "CPU temperature",
            "cpu_temperature_c",
            "%s | round(1)",
            device_class="temperature",
            state_class="measurement",
            unit_of_measurement="°C",
            suggested_display_precision=0,
            **quiet,
        ),
    }
