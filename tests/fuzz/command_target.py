"""Commands of the hub: any bytes on any topic, through the MQTT sink's way in, the box and the desk."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from typing_extensions import override

from monitor.commands import CAUSE_OPTIONS, HOLD, MUTE_OPTIONS, SENSITIVITY, Control
from monitor.service.controls import Settings
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.mqtt_reports import Incoming
from monitor.sinks.mqtt_settings import MqttSettings
from tests.broker import HOST, Mosquitto, wait_until
from tests.fuzz.mutate import any_text, spoiled
from tests.fuzz.state_target import FrontDesk, episode
from tests.fuzz.target import Target

BASE = "cradlewatch/nursery/set/"
_RIGHT = {
    Control.LISTENING: ("ON", "OFF"),
    Control.SENSITIVITY: ("0", "50", "100", "55.5"),
    Control.HOLD: ("1", "300", "7.5"),
    Control.QUIET_HOURS: ("off", "22:00-06:30"),
    Control.MUTE: (*MUTE_OPTIONS, "2026-11-22T04:00:00+00:00", "20261122T040000Z"),
    Control.ACKNOWLEDGE: ("PRESS", "e1"),
    Control.TEST_ALERT: ("PRESS",),
    Control.RESTART: ("PRESS",),
    Control.CONFIRM_CAUSE: CAUSE_OPTIONS,
}


@dataclass(frozen=True)
class Command:
    topic: str
    payload: bytes
    retain: bool


def any_command(rng: random.Random) -> Command:
    control = rng.choice(list(Control))
    payload = rng.choice(_RIGHT[control]).encode()
    kind = rng.random()
    if kind < 0.35:
        payload = spoiled(payload, rng, 3)
    elif kind < 0.6:
        payload = any_text(rng, 70).encode("utf-8", "surrogatepass")
    elif kind < 0.75:
        payload = rng.randbytes(rng.choice((0, 1, 2, 16, 64, 65, 300, 100_000)))
    topic = BASE + control.value
    if rng.random() < 0.15:
        topic = rng.choice((BASE, "", "cradlewatch/", BASE + control + "/")) + any_text(rng, 100)
    return Command(topic, payload, rng.random() < 0.05)


class CommandTarget(Target):
    name = "hub commands"
    share = 26_000
    reopened_every = 500

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._state = folder / "state"
        self._state.mkdir()
        self._count = 0
        self._begin()

    def _begin(self) -> None:
        self.front = FrontDesk(self._state)
        self._sink = MqttSink(MqttSettings("localhost", "nursery"), inbox=self.front.box)
        self.front.desk.open(self.front.now)
        self.front.bus.publish(episode("started"))
        self.front.turn()

    @override
    def make(self, rng: random.Random) -> Command:
        return any_command(rng)

    @override
    def feed(self, given: Command) -> str:
        self._count += 1
        before = self._sink.stats().ignored_commands
        self._sink._take([Incoming(given.topic, given.payload, given.retain)])
        said = self._after()
        if self._sink.stats().ignored_commands > before:
            said = "It was ignored."
        if self._count % self.reopened_every == 0:
            settings = self.front.desk._settings.value
            self.front.desk.close(self.front.now)
            self._begin()
            assert not self.front.desk.faults
            assert self.front.desk._settings.value in (
                settings,
                settings.model_copy(update={"muted_until": None}),
            )
        return said

    def _after(self) -> str:
        self.front.published.clear()
        self.front.turn()
        settings: Settings = self.front.desk._settings.value
        assert SENSITIVITY.low <= settings.sensitivity <= SENSITIVITY.high
        assert settings.hold_s is None or HOLD.low <= settings.hold_s <= HOLD.high
        assert Settings.model_validate_json(settings.model_dump_json()) == settings
        rejected = [m.last_rejected for m in self.front.published if m.kind == "controls"]
        return rejected[-1] if rejected else ""


class WireTarget(Target):
    """The same commands over a real Mosquitto."""

    name = "hub commands, wire"
    share = 500
    limit_s = 40.0
    memory_mb = 4096

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._broker = Mosquitto(folder / "mosquitto").start()
        self.front = FrontDesk(None)
        self._sink = MqttSink(
            MqttSettings(HOST, "nursery", port=self._broker.port), inbox=self.front.box, jitter_s=lambda: 0.0
        )
        self._sink.open()
        self._hub = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._hub.connect(HOST, self._broker.port)
        self._hub.loop_start()
        self.front.desk.open(self.front.now)
        wait_until(lambda: self._sink.tick() or self._sink.stats().connected, "the sink is connected")
        wait_until(lambda: self._press() or self._drained(), "commands arrive")
        self._drained()

    def _press(self) -> None:
        self._hub.publish(BASE + "sensitivity", b"50")
        time.sleep(0.05)

    def _drained(self) -> bool:
        self._sink.tick()
        return bool(self.front.box.take())

    @override
    def make(self, rng: random.Random) -> Command:
        return any_command(rng)

    @override
    def feed(self, given: Command) -> str:
        try:
            self._say(given)
        except ValueError:
            return "The hub's own library refuses it."
        # One that is right behind it tells that the link still takes commands.
        self._hub.publish(BASE + "hold", b"7.5", qos=1)
        controls = []

        def followed() -> bool:
            self._sink.tick()
            taken = self.front.box.take()
            for request in taken:
                self.front.box.put(request)
            controls.extend(request.control for request in taken)
            self.front.published.clear()
            self.front.turn()
            time.sleep(0.001)
            return "hold" in controls

        wait_until(followed, "the command behind it arrives", 30.0)
        return ""

    def _say(self, given: Command) -> None:
        if given.topic and given.topic.isprintable():
            self._hub.publish(given.topic, given.payload, qos=1)
            return
        # Brokers hang up on whoever sends such a topic: not on the one that presses the buttons.
        other = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        other.connect(HOST, self._broker.port)
        other.loop_start()
        try:
            other.publish(given.topic, given.payload, qos=1)
            time.sleep(0.02)
        finally:
            other.disconnect()
            other.loop_stop()

    @override
    def close(self) -> None:
        self._hub.loop_stop()
        self._sink.close(1.0)
        self._broker.kill()
