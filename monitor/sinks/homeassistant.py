"""What goes to Home Assistant (2024.11 or newer) over MQTT: discovery and messages, as pure functions.

Every entity that an automation may ask after a restart of the hub stands on a retained topic. Whatever
belongs to one episode is cleared when the next one starts: a cause that was told of the last cry must
not stand beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from monitor.sinks.hub_component import OFFLINE, ONLINE, Components, Platform
from monitor.sinks.hub_controls import controls
from monitor.sinks.hub_diagnostics import diagnostics
from monitor.sinks.hub_entities import EVENT_TYPES, entities
from monitor.sinks.hub_topics import Topics, device_id
from monitor.sinks.mqtt_settings import MqttSettings, Publication

__all__ = [
    "OFFLINE",
    "ONLINE",
    "RETIRED",
    "Topics",
    "availability",
    "calm",
    "device_id",
    "discovery",
    "publications",
]

RETIRED: Final[Mapping[str, Platform]] = {}
"""Keys of entities that earlier releases had, with their platforms. Never taken out again: a hub may
skip releases. An entity that changes its platform needs a new key."""


def discovery(
    settings: MqttSettings, topics: Topics, version: str, retired: Mapping[str, Platform] = RETIRED
) -> Publication:
    """The one retained message that makes the device and all its entities, and removes retired ones."""
    payload = {
        "dev": _device(settings, version),
        "o": {"name": "cradlewatch", "sw": version},
        # A component of a platform alone is Home Assistant's way to say that it is gone.
        "cmps": {key: {"p": platform} for key, platform in retired.items()}
        | {
            key: {
                "p": component.platform,
                "unique_id": f"{device_id(settings)}_{key}",
                "default_entity_id": f"{component.platform}.{settings.device.replace('-', '_')}_{key}",
                "qos": 1,
                **component.fields,
            }
            for key, component in components(settings, topics).items()
        },
    }
    return Publication(topics.discovery, _json(payload), retain=True)


def components(settings: MqttSettings, topics: Topics) -> Components:
    """All entities of the device."""
    return (
        entities(topics, settings.report_every_s)
        | diagnostics(topics, settings.heartbeat_s)
        | controls(topics)
    )


def _device(settings: MqttSettings, version: str) -> dict[str, Any]:
    known = {"hw": settings.model, "sn": settings.serial}
    return {
        "ids": [device_id(settings)],
        "name": settings.device_name,
        "mf": "Cradlewatch",
        "mdl": "Cry monitor",
        "sw": version,
        "sa": settings.suggested_area or settings.device_name,
        **{key: value for key, value in known.items() if value is not None},
    }


def availability(topics: Topics, payload: str) -> Publication:
    return Publication(topics.availability, payload, retain=True)


def calm(topics: Topics) -> Publication:
    """The state before the first cry. It also clears an ON that a killed process left behind."""
    return Publication(topics.crying, json.dumps({"state": "OFF"}), retain=True)


def publications(
    message: AnyMessage, topics: Topics, *, event_expiry_s: int, telemetry_expiry_s: int = 60
) -> list[Publication]:
    """What a message becomes on MQTT: states first, so that they are right when the event fires."""
    match message:
        case EpisodeMessage():
            return _episode(message, topics, event_expiry_s)
        case TelemetryMessage():
            return [
                Publication(topics.telemetry, message.to_json(), retain=True, expiry_s=telemetry_expiry_s),
                Publication(topics.sound, _sound(message), retain=True),
            ]
        case TestMessage():
            details = _content(message) | {"event_type": "test"}
            return [_event(details, topics, event_expiry_s)]
        case (
            HealthMessage()
            | ControlsMessage()
            | AlertMessage()
            | NightMessage()
            | DeliveryMessage()
            | ConfirmedCauseMessage()
        ):
            return [Publication(topics.state(message.kind), message.to_json(), retain=True)]


def _sound(message: TelemetryMessage) -> str:
    time = message.model_dump(mode="json")["time"]
    return _json({"time": time, "level_dbfs": message.level_dbfs, "score": message.score})


def _episode(message: EpisodeMessage, topics: Topics, event_expiry_s: int) -> list[Publication]:
    # By the clock as it stands: the hub shows since when, and puts it beside the end.
    details = _content(
        message.model_copy(update={"onset_at": message.began_at, "detected_at": message.known_at})
    )
    state = {"state": "OFF" if message.event_type == "ended" else "ON", **details}
    made = [Publication(topics.crying, _json(state), retain=True)]
    episode = {key: details[key] for key in ("episode_id", "onset_at")}
    if message.event_type == "started":
        made.append(Publication(topics.confirmed_cause, _json({"cause": None, **episode}), retain=True))
    if message.cause is not None:
        made.append(Publication(topics.cause, _json(_cause(message.cause) | episode), retain=True))
    elif message.event_type == "started":
        made.append(Publication(topics.cause, _json({"cause": None, **episode}), retain=True))
    if message.event_type in EVENT_TYPES:  # an update is news of the state alone
        made.append(_event(details, topics, event_expiry_s))
    return made


def _event(details: dict[str, Any], topics: Topics, event_expiry_s: int) -> Publication:
    return Publication(
        topics.cry, _json(details), retain=False, expiry_s=event_expiry_s, key=details["event_id"]
    )


def _cause(hint: CauseHint) -> dict[str, Any]:
    return {
        "cause": hint.answer,
        "probability": hint.probability,
        "base_rate": hint.base_rate,
        "probabilities": hint.probabilities,
    }


def _content(message: EpisodeMessage | TestMessage) -> dict[str, Any]:
    return message.model_dump(mode="json", by_alias=True)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
