"""Home Assistant's core with its MQTT integration and nothing else. Run with Home Assistant's Python.

``python small_hub.py PORT FOLDER`` connects to the broker on that port of the loopback, says "ready" and
then answers one line of JSON for each that comes in::

    {"ask": "settle"}                     null, once all is processed that the broker had before
    {"ask": "states"}                     state and attributes by entity id
    {"ask": "entities"}                   what the entity registry holds, by unique id
    {"ask": "devices"}                    what the device registry holds
    {"ask": "ignored", "payload": {}}     keys of a discovery payload that are dropped without a word
    {"ask": "call", "name": "", "data": {}}   null, once the service was called
    {"ask": "automate", "automations": [], "phones": []}   null, once they run; each phone is a notify action
    {"ask": "fire", "name": "", "data": {}}   null, once all is done that the event led to
    {"ask": "posts"}                      what the phones were told since it was asked last
    {"ask": "complaints"}                 warnings and errors logged since it was asked last
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from homeassistant import const

# It asks for 3.13.2 as soon as more of it is imported, but also runs on 3.13.0.
const.REQUIRED_PYTHON_VER = min(const.REQUIRED_PYTHON_VER, sys.version_info[:3])

from homeassistant import bootstrap, core, loader, setup  # noqa: E402  # after the line above
from homeassistant.components import mqtt  # noqa: E402
from homeassistant.components.mqtt import discovery, schemas  # noqa: E402
from homeassistant.components.mqtt.const import MQTT_PROCESSED_SUBSCRIPTIONS  # noqa: E402
from homeassistant.components.mqtt.models import DATA_MQTT  # noqa: E402
from homeassistant.config_entries import ConfigEntries, ConfigEntryState  # noqa: E402
from homeassistant.helpers import device_registry, entity_registry  # noqa: E402
from homeassistant.helpers.dispatcher import async_dispatcher_connect  # noqa: E402

FENCE = "small-hub/fence"
BLUEPRINTS = Path(__file__).parents[2] / "deploy" / "homeassistant" / "blueprints"


class Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "homeassistant.helpers.frame":
            return  # about Home Assistant's own code
        why = f" ({record.exc_info[1]!r})" if record.exc_info else ""
        self.told.append(f"{record.levelname} {record.name}: {record.getMessage()}{why}")


class SmallHub:
    def __init__(self, folder: Path) -> None:
        self._hass = core.HomeAssistant(str(folder))
        self._complaints = Complaints()
        self._fences = 0
        self._seen: asyncio.Queue[str] = asyncio.Queue()
        self._subscribed: set[str] = set()
        self._more_subscribed = asyncio.Event()
        self._posts: list[dict[str, Any]] = []

    async def start(self) -> None:
        hass = self._hass
        logging.getLogger().addHandler(self._complaints)
        async_dispatcher_connect(hass, MQTT_PROCESSED_SUBSCRIPTIONS, self._note_subscribed)
        loader.async_setup(hass)
        hass.config.skip_pip = True
        hass.config_entries = ConfigEntries(hass, {})
        await loader.async_get_custom_components(hass)
        await bootstrap.async_load_base_functionality(hass)
        # MQTT wants these for its set-up dialogue only.
        hass.config.components.update({"http", "file_upload"})
        assert await setup.async_setup_component(hass, "mqtt", {})
        assert [entry.state for entry in hass.config_entries.async_entries()] == [ConfigEntryState.LOADED]
        await hass.async_start()
        await mqtt.async_subscribe(hass, FENCE, self._arrived, qos=1)

    @core.callback
    def _arrived(self, message: mqtt.ReceiveMessage) -> None:
        self._seen.put_nowait(message.payload)

    async def answer(self, question: dict[str, Any]) -> Any:
        return await getattr(self, question.pop("ask"))(**question)

    async def settle(self) -> None:
        # Twice: what came first may have made entities, whose subscriptions bring retained messages.
        for _ in range(2):
            await self._hass.async_block_till_done()
            await self._all_subscribed()
            # The broker keeps the order: whatever it had for us comes before this.
            self._fences += 1
            await mqtt.async_publish(self._hass, FENCE, str(self._fences), qos=1)
            while await self._seen.get() != str(self._fences):
                pass
        await self._hass.async_block_till_done()

    async def _all_subscribed(self) -> None:
        client = self._hass.data[DATA_MQTT].client
        while True:
            wanted = {*client._simple_subscriptions, *(one.topic for one in client._wildcard_subscriptions)}
            self._subscribed &= wanted
            if self._subscribed == wanted:
                return
            self._more_subscribed.clear()
            await self._more_subscribed.wait()

    @core.callback
    def _note_subscribed(self, chunk: list[tuple[str, int]]) -> None:
        self._subscribed.update(topic for topic, _ in chunk)
        self._more_subscribed.set()

    async def states(self) -> dict[str, Any]:
        return {
            state.entity_id: {"state": state.state, "attributes": dict(state.attributes)}
            for state in self._hass.states.async_all()
        }

    async def entities(self) -> dict[str, Any]:
        return {
            entry.unique_id: {
                "entity_id": entry.entity_id,
                "disabled": entry.disabled_by is not None,
                "category": entry.entity_category,
                "name": entry.original_name,
            }
            for entry in entity_registry.async_get(self._hass).entities.values()
        }

    async def devices(self) -> list[dict[str, Any]]:
        fields = ("name", "manufacturer", "model", "hw_version", "sw_version", "serial_number", "area_id")
        return [
            {field: getattr(device, field) for field in fields}
            for device in device_registry.async_get(self._hass).devices.values()
        ]

    async def ignored(self, payload: dict[str, Any]) -> list[str]:
        wanted = copy.deepcopy(payload)
        discovery._replace_all_abbreviations(wanted)  # as it does before the schemas
        schemas.DEVICE_DISCOVERY_SCHEMA(wanted)
        dropped = []
        for key, component in wanted["components"].items():
            platform = component.pop("platform")
            schema = importlib.import_module(f"homeassistant.components.mqtt.{platform}").DISCOVERY_SCHEMA
            kept = schema({**component, "device": wanted["device"], "origin": wanted["origin"]})
            dropped += [f"{key}.{field}" for field in component if field not in kept]
        return dropped

    async def call(self, name: str, data: dict[str, Any]) -> None:
        domain, _, service = name.partition(".")
        await self._hass.services.async_call(domain, service, data, blocking=True)

    async def automate(self, automations: list[dict[str, Any]], phones: list[str]) -> None:
        for phone in phones:
            self._hass.services.async_register("notify", phone, self._ring)
        assert await setup.async_setup_component(self._hass, "homeassistant", {})
        assert await setup.async_setup_component(self._hass, "automation", {"automation": automations})
        await self._hass.async_block_till_done()

    async def _ring(self, call: core.ServiceCall) -> None:
        self._posts.append({"phone": call.service, **call.data})

    async def fire(self, name: str, data: dict[str, Any]) -> None:
        self._hass.bus.async_fire(name, data)
        await self._hass.async_block_till_done()

    async def posts(self) -> list[dict[str, Any]]:
        told, self._posts = self._posts, []
        return told

    async def complaints(self) -> list[str]:
        told, self._complaints.told = self._complaints.told, []
        return told


def _storage(port: int) -> dict[str, Any]:
    """The file that holds what a person has set up."""
    entry = {
        "data": {"broker": "127.0.0.1", "port": port, "protocol": "5"},
        "options": {"discovery": True, "discovery_prefix": "homeassistant"},
        "domain": "mqtt",
        "entry_id": "broker",
        "title": "Broker",
        "source": "user",
        "version": 1,
        "minor_version": 2,
        "created_at": "2026-01-01T00:00:00+00:00",
        "modified_at": "2026-01-01T00:00:00+00:00",
        "discovery_keys": {},
        "subentries": [],
        "unique_id": None,
        "disabled_by": None,
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
    }
    return {"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}}


def prepare(folder: Path, port: int) -> None:
    (folder / "configuration.yaml").touch()
    shutil.copytree(BLUEPRINTS, folder / "blueprints")
    (folder / ".storage").mkdir()
    (folder / ".storage" / "core.config_entries").write_text(json.dumps(_storage(port)))


async def main(folder: Path) -> None:
    hub = SmallHub(folder)
    await hub.start()
    print(json.dumps("ready"), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await hub.answer(json.loads(line)), default=str), flush=True)


if __name__ == "__main__":
    prepare(Path(sys.argv[2]), int(sys.argv[1]))
    asyncio.run(main(Path(sys.argv[2])))
