"""The tests' end of small_hub.py: asks Home Assistant, and publishes to it as monitors do."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from monitor.sinks import homeassistant
from monitor.sinks.homeassistant import ONLINE, Topics
from monitor.sinks.mqtt_settings import MqttSettings, Publication
from tests.broker import HOST, Authority, Mosquitto, Subscriber
from tests.hub.home_assistant import PYTHON

START_S = 90.0
ANSWER_S = 60.0
NURSERY = MqttSettings(
    host=HOST,
    device="nursery",
    device_name="Nursery",
    model="Raspberry Pi 5 Model B",
    serial="10000000abcdef01",
)


class SmallHub:
    """Speaks with tests/hub/small_hub.py, and publishes for the monitors."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        folder.mkdir()
        # Its bytecode is worth keeping: without, each start takes twice as long.
        environment = {key: os.environ[key] for key in os.environ if key != "PYTHONDONTWRITEBYTECODE"}
        # It reads the system's whole bundle of certificates a dozen times before it does anything.
        environment["REQUESTS_CA_BUNDLE"] = str(Authority.create(folder / "authority").ca_file)
        self._log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            [PYTHON, Path(__file__).with_name("small_hub.py"), str(broker.port), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.port = broker.port
        self.broker = Subscriber(broker.port, "cradlewatch/+/set/+")
        assert self._answer(START_S) == "ready"

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self, timeout_s: float) -> Any:
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            line = ""
        self._log.seek(0)
        assert line, f"Home Assistant gave no answer:\n{self._log.read()}"
        return json.loads(line)

    def ask(self, question: str, **more: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"ask": question, **more}) + "\n")
        self._process.stdin.flush()
        return self._answer(ANSWER_S)

    def publish(self, *publications: Publication) -> None:
        for publication in publications:
            self.broker.publish(publication.topic, publication.payload, retain=publication.retain)
        self.ask("settle")

    def show(self, *messages: Any, settings: MqttSettings = NURSERY) -> None:
        topics = Topics.of(settings)
        made = [homeassistant.publications(message, topics, event_expiry_s=300) for message in messages]
        self.publish(*(publication for publications in made for publication in publications))

    def announce(self, settings: MqttSettings = NURSERY, **more: Any) -> None:
        """All entities, those that come switched off too: Home Assistant would not work them."""
        topics = Topics.of(settings)
        message = homeassistant.discovery(settings, topics, "0.2.0", **more)
        payload = json.loads(message.payload)
        for component in payload["cmps"].values():
            component.pop("enabled_by_default", None)
        self.publish(
            homeassistant.availability(topics, ONLINE),
            homeassistant.calm(topics),
            replace(message, payload=json.dumps(payload)),
        )

    def state(self, entity: str) -> str:
        return self.ask("states")[entity]["state"]

    def states(self, *entities: str) -> list[str]:
        all_states = self.ask("states")
        return [all_states[entity]["state"] for entity in entities]

    def attributes(self, entity: str) -> dict[str, Any]:
        return self.ask("states")[entity]["attributes"]

    def close(self) -> None:
        self.broker.close()
        self._process.kill()
        self._process.communicate(timeout=ANSWER_S)
        self._log.close()
