"""Home Assistant's core with its MQTT integration and nothing else. Run with Home Assistant's Python.

``python small_hub.py PORT FOLDER`` connects to the broker on the loopback port and then answers, one
line of JSON for each line of JSON that comes in::

    {"ask": "settle"}             once all is processed that the broker had before; null
    {"ask": "states"}             all states by entity id: state and attributes
    {"ask": "entities"}           the entity registry by unique id
    {"ask": "devices"}            the device registry
    {"ask": "ignored", ...}       keys of a device payload that Home Assistant does not know
    {"ask": "call", ...}          calls the service ``name`` with ``data``; null
    {"ask": "complaints"}         warnings and errors logged since the last such question
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import logging
import sys
from types import MappingProxyType
from typing import Any

from homeassistant import const

if sys.version_info[:3] < const.REQUIRED_PYTHON_VER:
    const.REQUIRED_PYTHON_VER = sys.version_info[:3]

from homeassistant import bootstrap, core, loader, setup  # noqa: E402 - it looks at the version first
from homeassistant.components.mqtt.abbreviations import (  # noqa: E402
    ABBREVIATIONS,
    DEVICE_ABBREVIATIONS,
    ORIGIN_ABBREVIATIONS,
)
from homeassistant.config_entries import ConfigEntries, ConfigEntry  # noqa: E402
from homeassistant.helpers import device_registry, entity_registry  # noqa: E402

FENCE = "small-hub/fence"


class Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        why = f" ({record.exc_info[1]!r})" if record.exc_info else ""
        self.told.append(f"{record.levelname} {record.name}: {record.getMessage()}{why}")


class SmallHub:
    def __init__(self, port: int, folder: str) -> None:
        self._port = port
        self._hass = core.HomeAssistant(folder)
        self._complaints = Complaints()
        self._fences = 0
        self._seen: asyncio.Queue[str] = asyncio.Queue()

    async def start(self) -> None:
        hass = self._hass
        logging.getLogger().addHandler(self._complaints)
        loader.async_setup(hass)
        hass.config.skip_pip = True
        hass.config_entries = ConfigEntries(hass, {})
        await loader.async_get_custom_components(hass)
        await bootstrap.async_load_base_functionality(hass)
        # MQTT wants these for its set-up dialogue only.
        hass.config.components.update({"http", "file_upload"})
        entry = ConfigEntry(
            data={"broker": "127.0.0.1", "port": self._port, "protocol": "5"},
            options={"discovery": True, "discovery_prefix": "homeassistant"},
            discovery_keys=MappingProxyType({}),
            domain="mqtt",
            version=1,
            minor_version=2,
            source="user",
            subentries_data=(),
            title="Broker",
            unique_id=None,
        )
        await hass.config_entries.async_add(entry)
        assert await setup.async_setup_component(hass, "mqtt", {})
        assert entry.state.recoverable, self._complaints.told
        await hass.async_start()
        from homeassistant.components import mqtt  # noqa: PLC0415 - set up first

        self._mqtt = mqtt
        await mqtt.async_subscribe(hass, FENCE, lambda message: self._seen.put_nowait(message.payload), qos=1)

    async def answer(self, question: dict[str, Any]) -> Any:
        return await getattr(self, f"_{question.pop('ask')}")(**question)

    async def _settle(self) -> None:
        self._fences += 1
        # Subscriptions are made after a pause; what they bring comes before the answer to a later message.
        await self._subscribed()
        await self._mqtt.async_publish(self._hass, FENCE, str(self._fences), qos=1)
        while await self._seen.get() != str(self._fences):
            pass
        await self._hass.async_block_till_done()

    async def _subscribed(self) -> None:
        client = self._hass.data["mqtt"].client
        await self._hass.async_block_till_done()
        while client._pending_subscriptions or client._pending_operations:  # noqa: SLF001
            await asyncio.sleep(0.02)

    async def _states(self) -> dict[str, Any]:
        return {
            state.entity_id: {"state": state.state, "attributes": dict(state.attributes)}
            for state in self._hass.states.async_all()
        }

    async def _entities(self) -> dict[str, Any]:
        return {
            entry.unique_id: {
                "entity_id": entry.entity_id,
                "disabled": entry.disabled_by is not None,
                "category": entry.entity_category,
                "name": entry.original_name,
            }
            for entry in entity_registry.async_get(self._hass).entities.values()
        }

    async def _devices(self) -> list[dict[str, Any]]:
        fields = ("name", "manufacturer", "model", "hw_version", "sw_version", "serial_number", "area_id")
        return [
            {field: getattr(device, field) for field in fields}
            for device in device_registry.async_get(self._hass).devices.values()
        ]

    async def _ignored(self, payload: dict[str, Any]) -> list[str]:
        return ignored(payload)

    async def _call(self, name: str, data: dict[str, Any]) -> None:
        domain, _, service = name.partition(".")
        await self._hass.services.async_call(domain, service, data, blocking=True)

    async def _complaints_(self) -> list[str]:
        told, self._complaints.told = self._complaints.told, []
        return told


def ignored(payload: dict[str, Any]) -> list[str]:
    """Paths of the keys that Home Assistant's schemas would drop without a word."""
    found = [
        f"dev.{key}" for key in payload["dev"] if DEVICE_ABBREVIATIONS.get(key, key) not in _device_keys()
    ]
    return found


def _device_keys() -> set[str]:
    return set()


async def main() -> None:
    hub = SmallHub(int(sys.argv[1]), sys.argv[2])
    await hub.start()
    loop = asyncio.get_running_loop()
    print(json.dumps("ready"), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await hub.answer(json.loads(line)), default=str), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
