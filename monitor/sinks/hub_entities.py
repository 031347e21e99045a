"""The entities that a parent lives with: crying now, tonight, and whether somebody has been told.

Each reads its attributes from the message that gave it its state, because Home Assistant updates
two entities that share a topic one after the other, and an automation would see a stale neighbour.

The topic ``late`` has no entity. It holds events that could not be delivered while they were news, for
logs and statistics: whatever showed them would raise an alarm for a cry of hours ago.
"""

from __future__ import annotations

import math
from typing import Any, Final

from monitor.sinks.hub_component import Component, Components, details, hearing, linked, state
from monitor.sinks.hub_rates import SOUND_AT_LEAST_EVERY_S
from monitor.sinks.hub_topics import Topics
from monitor.types import Cause

EVENT_TYPES: Final = ("started", "escalated", "ended", "test")


def entities(topics: Topics, report_every_s: float) -> Components:
    """``report_every_s``: longest pause between two reports of level and score."""
    # Three reports more than the longest silence of the topic: then nobody listens.
    sound_expiry_s = math.ceil(SOUND_AT_LEAST_EVERY_S + 3 * report_every_s)
    return _now(topics, sound_expiry_s) | _tonight(topics) | _told(topics)


def _now(topics: Topics, sound_expiry_s: int) -> Components:
    crying = {
        "name": "Crying",
        "device_class": "sound",
        **state(topics.crying, "value_json.state"),
        **details(topics.crying),
        **hearing(topics),
    }
    # The event entity keeps the link's availability alone: each time an event entity comes back it
    # shows its last event again, and automations take that for a new one.
    cry = {
        "name": "Cry",
        "icon": "mdi:baby-face-outline",
        "event_types": list(EVENT_TYPES),
        "state_topic": topics.cry,
        **linked(topics),
    }
    cause = {
        "name": "Likely cause",
        "icon": "mdi:help-circle-outline",
        "device_class": "enum",
        "options": [cause.value for cause in Cause],
        **state(topics.cause, "value_json.cause"),
        **details(topics.cause),
        **linked(topics),
    }
    return {
        "crying": Component("binary_sensor", crying),
        "cry": Component("event", cry),
        "cause": Component("sensor", cause),
        "score": Component("sensor", _score(topics, sound_expiry_s)),
        "level": Component("sensor", _level(topics, sound_expiry_s)),
    }


def _score(topics: Topics, expiry_s: int) -> dict[str, Any]:
    return {
        "name": "Cry score",
        "icon": "mdi:waveform",
        "state_class": "measurement",
        "unit_of_measurement": "%",
        "suggested_display_precision": 0,
        "expire_after": expiry_s,
        **state(topics.sound, "(value_json.score * 100) | round(1)"),
        **hearing(topics),
    }


def _level(topics: Topics, expiry_s: int) -> dict[str, Any]:
    # No device class: sound_pressure promises a calibrated dB SPL, which a microphone of unknown
    # gain cannot give.
    return {
        "name": "Level",
        "icon": "mdi:volume-high",
        "state_class": "measurement",
        "unit_of_measurement": "dBFS",
        "suggested_display_precision": 0,
        "expire_after": expiry_s,
        **state(topics.sound, "value_json.level_dbfs | round(1)"),
        **hearing(topics),
    }


def _tonight(topics: Topics) -> Components:
    common = linked(topics)
    # What a sum was counted over stands beside it: it starts anew at noon.
    night = details(topics.night, "{'night': value_json.night}")
    minutes = {"device_class": "duration", "unit_of_measurement": "min", "suggested_display_precision": 0}
    crying = {
        "name": "Crying tonight",
        "icon": "mdi:timer-outline",
        "state_class": "total_increasing",
        **minutes,
        **state(topics.night, "(value_json.crying_s / 60) | round(1)"),
        **night,
    }
    episodes = {
        "name": "Episodes tonight",
        "icon": "mdi:counter",
        "state_class": "total_increasing",
        "suggested_display_precision": 0,
        **state(topics.night, "value_json.episodes"),
        **night,
    }
    calm = {
        "name": "Longest calm",
        "icon": "mdi:weather-night",
        "state_class": "measurement",
        **minutes,
        **state(topics.night, "(value_json.longest_calm_s / 60) | round(1)"),
        **night,
    }
    last = {
        "name": "Last cry",
        "device_class": "timestamp",
        **state(topics.night, "value_json.last_cry_at"),
    }
    return {
        "crying_tonight": Component("sensor", crying | common),
        "episodes_tonight": Component("sensor", episodes | common),
        "last_cry": Component("sensor", last | common),
        "longest_calm": Component("sensor", calm | common),
    }


def _told(topics: Topics) -> Components:
    alert = {
        "name": "Alert",
        "icon": "mdi:bell-ring-outline",
        "device_class": "enum",
        "options": ["none", "unacknowledged", "acknowledged"],
        **state(topics.alert, "value_json.state"),
        **details(topics.alert),
        **linked(topics),
    }
    muted_until = {
        "name": "Muted until",
        "icon": "mdi:bell-sleep-outline",
        "device_class": "timestamp",
        **state(topics.controls, "value_json.muted_until"),
        **linked(topics),
    }
    return {"alert": Component("sensor", alert), "muted_until": Component("sensor", muted_until)}
