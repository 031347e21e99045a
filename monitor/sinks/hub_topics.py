"""The MQTT topics of one device."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from monitor.sinks.mqtt_settings import MqttSettings

# The last part of a state's topic is the kind of the message it carries, where there is one.
_STATES: Final = (
    "availability",
    "crying",
    "cause",
    "telemetry",
    "sound",
    "instance",
    "health",
    "controls",
    "alert",
    "night",
    "delivery",
    "confirmed_cause",
)


_AVAILABILITY: Final = re.compile(rb'/([a-z0-9_-]+)/availability"')


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one device."""

    base: str
    discovery: str
    """Retained: what makes the device in Home Assistant."""

    @classmethod
    def of(cls, settings: MqttSettings) -> Topics:
        return cls(
            base=f"{settings.base_topic}/{settings.device}",
            discovery=f"{settings.discovery_prefix}/device/{device_id(settings)}/config",
        )

    def state(self, kind: str) -> str:
        """The retained topic of the messages of this kind."""
        return f"{self.base}/{kind}"

    @property
    def availability(self) -> str:
        """Online or offline (last will): the link to this process."""
        return self.state("availability")

    @property
    def crying(self) -> str:
        """State with all details of the episode."""
        return self.state("crying")

    @property
    def cry(self) -> str:
        """Not retained: what an automation may raise an alarm for."""
        return f"{self.base}/cry"

    @property
    def late(self) -> str:
        """Not retained: events that became too old to be news before the broker could have them."""
        return f"{self.base}/late"

    @property
    def cause(self) -> str:
        return self.state("cause")

    @property
    def telemetry(self) -> str:
        return self.state("telemetry")

    @property
    def sound(self) -> str:
        """Level and score as often as a hub can keep them; all of them are on :attr:`telemetry`."""
        return self.state("sound")

    @property
    def instance(self) -> str:
        """Which machine reports here, retained; and questions whether it still does."""
        return self.state("instance")

    @property
    def health(self) -> str:
        return self.state("health")

    @property
    def controls(self) -> str:
        return self.state("controls")

    @property
    def alert(self) -> str:
        return self.state("alert")

    @property
    def night(self) -> str:
        return self.state("night")

    @property
    def delivery(self) -> str:
        return self.state("delivery")

    @property
    def confirmed_cause(self) -> str:
        return self.state("confirmed_cause")

    @property
    def check(self) -> str:
        """Where ``cradlewatch check`` tries whether it may publish."""
        return f"{self.base}/check"

    @property
    def set_filter(self) -> str:
        """What to subscribe to for all commands."""
        return f"{self.base}/set/+"

    def set(self, control: str) -> str:
        """Where somebody asks for ``control``."""
        return f"{self.base}/set/{control}"

    def control_of(self, topic: str) -> str | None:
        """Which control a topic asks for; None where it is no command to this device."""
        prefix = self.set("")
        control = topic.removeprefix(prefix)
        return control if topic.startswith(prefix) and control and "/" not in control else None

    @property
    def retained(self) -> tuple[str, ...]:
        """Every retained topic below ``base``; :attr:`discovery` lies elsewhere."""
        return tuple(self.state(name) for name in _STATES)


def is_folded(settings: MqttSettings) -> bool:
    """Whether another device.id than this one may have the same :func:`device_id`."""
    return any(letter in settings.device for letter in "-_")


def owner_of(announcement: bytes) -> str | None:
    """The device.id in a discovery message, or in the beginning of one; None where none is found."""
    found = _AVAILABILITY.search(announcement)
    return None if found is None else found.group(1).decode()


def device_id(settings: MqttSettings) -> str:
    """Identity of the device in Home Assistant's registry; never changes for a given device."""
    return f"cradlewatch_{settings.device}".replace("-", "_")
