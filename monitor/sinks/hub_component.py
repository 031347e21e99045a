"""What an entity is in the discovery message, and on what it depends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from monitor.sinks.hub_topics import Topics

ONLINE: Final = "online"
OFFLINE: Final = "offline"

Platform = Literal["binary_sensor", "button", "event", "number", "select", "sensor", "switch", "text"]


@dataclass(frozen=True, slots=True)
class Component:
    """An entity: where it belongs in Home Assistant, and the fields of its own.

    A template answers ``None`` where nothing is known: Home Assistant shows that as unknown, while it
    takes an empty answer for no news and goes on showing the old value.
    """

    platform: Platform
    fields: dict[str, Any]


Components = dict[str, Component]
"""By key, the end of the entity's unique id. A key is never used for something else."""


# A fault (digital silence, a stuck detector) is as deaf as a lost microphone: "off" would be a lie. So
# it would be while nobody listens.
_HEARS: Final = f"'{ONLINE}' if value_json.microphone_ok and value_json.state != 'fault' else '{OFFLINE}'"
_LISTENS: Final = f"'{ONLINE}' if value_json.listening else '{OFFLINE}'"


def linked(topics: Topics) -> dict[str, Any]:
    """Available while the link stands: faults, controls, and what was heard before."""
    return {"availability_topic": topics.availability}


def hearing(topics: Topics) -> dict[str, Any]:
    """Available while something can be heard and is listened to."""
    return {
        "availability": [
            {"topic": topics.availability},
            {"topic": topics.health, "value_template": f"{{{{ {_HEARS} }}}}"},
            {"topic": topics.controls, "value_template": f"{{{{ {_LISTENS} }}}}"},
        ],
        "availability_mode": "all",
    }


def state(topic: str, template: str) -> dict[str, Any]:
    """State from the JSON on ``topic``; ``template`` is what would stand between the braces."""
    return {"state_topic": topic, "value_template": f"{{{{ {template} }}}}"}


def details(topic: str, template: str | None = None) -> dict[str, Any]:
    """Attributes from the JSON on ``topic``: all of it, or the mapping that ``template`` makes."""
    if template is None:
        return {"json_attributes_topic": topic}
    return {
        "json_attributes_topic": topic,
        "json_attributes_template": f"{{{{ {template} | to_json }}}}",
    }
