"""Topics, payloads and the discovery message for Home Assistant (2024.11 or newer): pure functions.

Every entity that an automation may ask after a restart of the hub stands on a retained topic. Each
reads its attributes from the message that gave it its state, because Home Assistant updates two
entities that share a topic one after the other, and an automation would see a stale neighbour.
"""

from __future__ import annotations

import json
from typing import Any, Final

from monitor.messages import (
    AlertMessage,
    AnyMessage,
    CauseHint,
    ConfirmedCauseMessage,
    ControlsMessage,
    DeliveryMessage,
    EpisodeMessage,
    HealthMessage,
    NightMessage,
    TelemetryMessage,
    TestMessage,
)
from monitor.sinks.hub_topics import Topics, device_id
from monitor.sinks.mqtt_settings import MqttSettings, Publication
from monitor.types import Cause

__all__ = ["OFFLINE", "ONLINE", "Topics", "availability", "calm", "device_id", "discovery", "publications"]

ONLINE: Final = "online"
OFFLINE: Final = "offline"
EVENT_TYPES: Final = ("started", "updated", "ended")

TELEMETRY_EXPIRY_S: Final = 60
"""A level older than this is no longer the level: calm telemetry comes every 10 s."""

# A fault (digital silence, a stuck detector) is as deaf as a lost microphone: "off" would be a lie.
_HEARS: Final = (
    f"{{{{ '{ONLINE}' if value_json.microphone_ok and value_json.state != 'fault' else '{OFFLINE}' }}}}"
)


def availability(topics: Topics, payload: str) -> Publication:
    return Publication(topics.availability, payload, retain=True)


def calm(topics: Topics) -> Publication:
    """The state before the first cry. It also clears an ON that a killed process left behind."""
    return Publication(topics.crying, json.dumps({"state": "OFF"}), retain=True)


def publications(message: AnyMessage, topics: Topics, *, event_expiry_s: int) -> list[Publication]:
    """What a message becomes on MQTT: states first, so that they are right when the event fires."""
    match message:
        case EpisodeMessage():
            return _episode(message, topics, event_expiry_s)
        case TelemetryMessage():
            payload = message.to_json()
            return [Publication(topics.telemetry, payload, retain=True, expiry_s=TELEMETRY_EXPIRY_S)]
        case HealthMessage():
            return [Publication(topics.health, message.to_json(), retain=True)]
        case (
            ControlsMessage() | AlertMessage() | NightMessage() | DeliveryMessage() | ConfirmedCauseMessage()
        ):
            return [Publication(f"{topics.base}/{message.kind}", message.to_json(), retain=True)]
        case TestMessage():
            details = message.model_dump(mode="json", by_alias=True) | {"event_type": "test"}
            return [
                Publication(
                    topics.cry, _json(details), retain=False, expiry_s=event_expiry_s, key=message.event_id
                )
            ]


def _episode(message: EpisodeMessage, topics: Topics, event_expiry_s: int) -> list[Publication]:
    details = message.model_dump(mode="json", by_alias=True)
    state = {"state": "OFF" if message.event_type == "ended" else "ON", **details}
    made = [Publication(topics.crying, _json(state), retain=True)]
    if message.cause is not None:
        made.append(Publication(topics.cause, _json(_cause(message, message.cause)), retain=True))
    updates = message.event_type == "updated"
    key = f"updated {message.episode_id}" if updates else message.event_id
    made.append(Publication(topics.cry, _json(details), retain=False, expiry_s=event_expiry_s, key=key))
    return made


def _cause(message: EpisodeMessage, hint: CauseHint) -> dict[str, Any]:
    return {
        "cause": hint.answer,
        "probability": hint.probability,
        "base_rate": hint.base_rate,
        "probabilities": hint.probabilities,
        "episode_id": message.episode_id,
        "onset_at": message.model_dump(mode="json")["onset_at"],
    }


def discovery(settings: MqttSettings, topics: Topics, version: str) -> Publication:
    """The one retained message that makes the device and all its entities."""
    identity = device_id(settings)
    payload = {
        "dev": {
            "ids": [identity],
            "name": settings.device_name,
            "mf": "Cradlewatch",
            "mdl": "Cry monitor",
            "sw": version,
            "sa": settings.suggested_area or settings.device_name,
        },
        "o": {"name": "cradlewatch", "sw": version},
        "cmps": {
            name: {
                "p": platform,
                "unique_id": f"{identity}_{name}",
                "default_entity_id": f"{platform}.{settings.device.replace('-', '_')}_{name}",
                "qos": 1,
                **fields,
            }
            for name, (platform, fields) in _components(topics).items()
        },
    }
    return Publication(topics.discovery, _json(payload), retain=True)


def _components(topics: Topics) -> dict[str, tuple[str, dict[str, Any]]]:
    """Per entity its platform and its own fields. What hangs on hearing goes when nothing is heard."""
    linked = {"availability_topic": topics.availability}
    hearing = {
        "availability": [
            {"topic": topics.availability},
            {
                "topic": topics.health,
                "value_template": _HEARS,
            },
        ],
        "availability_mode": "all",
    }
    crying = {
        "name": "Crying",
        "device_class": "sound",
        "state_topic": topics.crying,
        "value_template": "{{ value_json.state }}",
        "json_attributes_topic": topics.crying,
        **hearing,
    }
    # The event entity keeps the link's availability alone: each time an event entity comes back it
    # shows its last event again, and automations take that for a new one.
    cry = {
        "name": "Cry",
        "icon": "mdi:baby-face-outline",
        "event_types": list(EVENT_TYPES),
        "state_topic": topics.cry,
        **linked,
    }
    cause = {
        "name": "Likely cause",
        "icon": "mdi:help-circle-outline",
        "device_class": "enum",
        "options": [cause.value for cause in Cause],
        "state_topic": topics.cause,
        "value_template": "{{ value_json.cause }}",
        "json_attributes_topic": topics.cause,
        **linked,
    }
    return {
        "crying": ("binary_sensor", crying),
        "cry": ("event", cry),
        "cause": ("sensor", cause),
        "score": ("sensor", _score(topics) | hearing),
        "level": ("sensor", _level(topics) | hearing),
        "connectivity": ("binary_sensor", _connectivity(topics)),
        "microphone_fault": ("binary_sensor", _fault("Microphone fault", "microphone_ok", topics) | linked),
        "signal_fault": ("binary_sensor", _fault("Signal fault", "signal_ok", topics) | linked),
    }


def _score(topics: Topics) -> dict[str, Any]:
    return {
        "name": "Cry score",
        "icon": "mdi:waveform",
        "state_class": "measurement",
        "unit_of_measurement": "%",
        "suggested_display_precision": 0,
        "state_topic": topics.telemetry,
        "value_template": "{{ (value_json.score * 100) | round(1) }}",
        "expire_after": TELEMETRY_EXPIRY_S,
    }


def _level(topics: Topics) -> dict[str, Any]:
    # No device class: sound_pressure promises a calibrated dB SPL, which a microphone of unknown
    # gain cannot give.
    return {
        "name": "Level",
        "icon": "mdi:volume-high",
        "state_class": "measurement",
        "unit_of_measurement": "dBFS",
        "suggested_display_precision": 0,
        "state_topic": topics.telemetry,
        "value_template": "{{ value_json.level_dbfs | round(1) }}",
        "expire_after": TELEMETRY_EXPIRY_S,
    }


def _connectivity(topics: Topics) -> dict[str, Any]:
    # No availability: it shall say "disconnected", not vanish.
    return {
        "name": "Connectivity",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": topics.availability,
        "payload_on": ONLINE,
        "payload_off": OFFLINE,
    }


def _fault(name: str, field: str, topics: Topics) -> dict[str, Any]:
    return {
        "name": name,
        "device_class": "problem",
        "entity_category": "diagnostic",
        "state_topic": topics.health,
        "value_template": f"{{{{ 'OFF' if value_json.{field} else 'ON' }}}}",
        "json_attributes_topic": topics.health,
        "json_attributes_template": "{{ {'reasons': value_json.reasons} | to_json }}",
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
