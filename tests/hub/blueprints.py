"""Automations from our blueprints, as a parent makes them; the monitor is ``nursery``."""

from __future__ import annotations

from typing import Any

from tests.hub.home_assistant import PHONE


def automation(name: str, **inputs: Any) -> dict[str, Any]:
    return {
        "id": name,
        "alias": name.replace("_", " ").capitalize(),
        "use_blueprint": {"path": f"cradlewatch/{name}.yaml", "input": {"phones": [PHONE], **inputs}},
    }


def cry_alert(**inputs: Any) -> dict[str, Any]:
    return automation(
        "cry_alert", crying="binary_sensor.nursery_crying", cry="event.nursery_cry", **({"after": 0} | inputs)
    )


def supervision_alert(**inputs: Any) -> dict[str, Any]:
    return automation(
        "supervision_alert",
        connectivity="binary_sensor.nursery_connectivity",
        health="sensor.nursery_health",
        microphone_fault="binary_sensor.nursery_microphone_fault",
        signal_fault="binary_sensor.nursery_signal_fault",
        **inputs,
    )


def morning_report(**inputs: Any) -> dict[str, Any]:
    return automation(
        "morning_report",
        episodes="sensor.nursery_episodes_tonight",
        crying_minutes="sensor.nursery_crying_tonight",
        longest_calm="sensor.nursery_longest_calm",
        last_cry="sensor.nursery_last_cry",
        **inputs,
    )
