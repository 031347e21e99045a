"""The entities by which a parent asks for something.

None assumes that it was obeyed: each shows what the service has made of the request. Commands are
never retained, or a broker would give the same order again at every connection.
"""

from __future__ import annotations

from typing import Any, Final

from monitor.commands import (
    CAUSE_OPTIONS,
    HOLD,
    MUTE_OPTIONS,
    QUIET_HOURS_PATTERN,
    SENSITIVITY,
    Control,
    Range,
)
from monitor.sinks.hub_component import Component, Components, Platform, details, linked, state
from monitor.sinks.hub_topics import Topics

# The option that covers what is left of the mute, which may have been set as a time of day. Three
# seconds less: "15 min" shall not be told as 30 because the message was stamped first.
_LEFT: Final = "(as_timestamp(value_json.muted_until, 0) - as_timestamp(value_json.time) - 3) / 60"
_MUTE: Final = (
    f"{list(MUTE_OPTIONS.items())} | selectattr(1, 'ge', {_LEFT})"
    " | map(attribute=0) | first | default('None')"
)


def controls(topics: Topics) -> Components:
    return {
        key.value: Component(platform, {**fields, **_asking(key, topics)})
        for key, (platform, fields) in (_settings(topics) | _buttons() | _answers(topics)).items()
    }


def _asking(control: Control, topics: Topics) -> dict[str, Any]:
    return {"command_topic": topics.set(control), "retain": False, **linked(topics)}


def _settings(topics: Topics) -> dict[Control, tuple[Platform, dict[str, Any]]]:
    refused = details(topics.controls, "{'last_rejected': value_json.last_rejected}")
    listening = {
        "name": "Listening",
        "icon": "mdi:ear-hearing",
        **state(topics.controls, "'ON' if value_json.listening else 'OFF'"),
    }
    sensitivity = {
        "name": "Sensitivity",
        "icon": "mdi:tune-variant",
        "entity_category": "config",
        "mode": "slider",
        **_range(SENSITIVITY, "value_json.sensitivity", topics),
    }
    hold = {
        "name": "Hold time",
        "icon": "mdi:timer-sand",
        "entity_category": "config",
        "device_class": "duration",
        "mode": "box",
        **_range(HOLD, "value_json.hold_s", topics),
    }
    quiet_hours = {
        "name": "Quiet hours",
        "icon": "mdi:weather-night",
        "entity_category": "config",
        "min": len("off"),
        "max": len("22:00-06:30"),
        "pattern": QUIET_HOURS_PATTERN,
        **state(topics.controls, "value_json.quiet_hours"),
    }
    mute = {
        "name": "Mute alerts",
        "icon": "mdi:bell-sleep-outline",
        "options": list(MUTE_OPTIONS),
        **state(topics.controls, _MUTE),
    }
    return {
        Control.LISTENING: ("switch", listening | refused),
        Control.SENSITIVITY: ("number", sensitivity | refused),
        Control.HOLD: ("number", hold | refused),
        Control.QUIET_HOURS: ("text", quiet_hours | refused),
        Control.MUTE: ("select", mute | refused),
    }


def _range(allowed: Range, value: str, topics: Topics) -> dict[str, Any]:
    # The configuration file may go further than the hub; Home Assistant logs an error for what
    # lies outside its range.
    return {
        "min": allowed.low,
        "max": allowed.high,
        "step": allowed.step,
        "unit_of_measurement": allowed.unit,
        **state(topics.controls, f"{value} if {allowed.low} <= {value} <= {allowed.high} else none"),
    }


def _buttons() -> dict[Control, tuple[Platform, dict[str, Any]]]:
    acknowledge = {"name": "Acknowledge", "icon": "mdi:check-circle-outline"}
    test = {"name": "Test alert", "icon": "mdi:bell-check-outline", "entity_category": "diagnostic"}
    restart = {"name": "Restart", "device_class": "restart", "entity_category": "config"}
    return {
        Control.ACKNOWLEDGE: ("button", acknowledge),
        Control.TEST_ALERT: ("button", test),
        Control.RESTART: ("button", restart),
    }


def _answers(topics: Topics) -> dict[Control, tuple[Platform, dict[str, Any]]]:
    confirm = {
        "name": "That was",
        "icon": "mdi:account-question-outline",
        "options": list(CAUSE_OPTIONS),
        **state(topics.confirmed_cause, "value_json.cause"),
        **details(topics.confirmed_cause),
    }
    return {Control.CONFIRM_CAUSE: ("select", confirm)}
