"""The house: a nursery with a virtual microphone, the real service, Mosquitto, Home Assistant, a phone.

Only the baby is a recording. The service hears it in real time, and everything can be killed.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import soundfile

from monitor.types import SAMPLE_RATE_HZ
from tests.broker import Mosquitto
from tests.cli.programs import Program
from tests.hub.home_assistant import ROOT, HomeAssistant
from tests.hub.phone import Phone
from tests.virtual_microphone import VirtualMicrophone

NURSERY: Final = ROOT / "monitor" / "demo" / "nursery.flac"
CALM_S: Final = (28.5, 31.5)
CRY_S: Final = (14.0, 26.9)
STEP_S: Final = 0.5
CRYING: Final = "binary_sensor.nursery_crying"


def recording(start_s: float, stop_s: float) -> np.ndarray:
    """A part of the demonstration's recording, int16 (n,)."""
    audio, rate_hz = soundfile.read(
        NURSERY, dtype="int16", start=round(start_s * SAMPLE_RATE_HZ), stop=round(stop_s * SAMPLE_RATE_HZ)
    )
    assert rate_hz == SAMPLE_RATE_HZ
    return audio


class Baby:
    """Cries into the microphone from ``cry`` to ``calm_down``."""

    def __init__(self, microphone: VirtualMicrophone) -> None:
        self._microphone = microphone
        self._sound = recording(*CRY_S)
        self._crying = threading.Event()
        self._thread: threading.Thread | None = None

    def cry(self) -> None:
        assert self._thread is None
        self._crying.set()
        self._thread = threading.Thread(target=self._run, name="baby")
        self._thread.start()

    def calm_down(self) -> None:
        self._crying.clear()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        step = round(STEP_S * SAMPLE_RATE_HZ)
        position, due_s = 0, time.monotonic()
        while self._crying.is_set():
            self._microphone.feed(
                np.take(self._sound, range(position, position + step), mode="wrap"), wait=False
            )
            position += step
            due_s += STEP_S
            time.sleep(max(0.0, due_s - time.monotonic()))


class House:
    """``with House(folder, automations) as house``: all of it runs and the monitor hears the room."""

    def __init__(
        self,
        folder: Path,
        automations: list[dict[str, Any]],
        *,
        background: np.ndarray | None = None,
        **settings: str,
    ) -> None:
        self._folder = folder
        self._background = recording(*CALM_S) if background is None else background
        self._automations = automations
        self._settings = {
            "device.id": "nursery",
            "device.name": "Nursery",
            "service.state_dir": str(folder / "state"),
            **settings,
        }
        self._closing = contextlib.ExitStack()
        self.phone: Phone
        self.broker: Mosquitto
        self.microphone: VirtualMicrophone
        self.baby: Baby
        self.hub: HomeAssistant
        self.service: Program

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.phone = stack.enter_context(Phone())
            self.broker = stack.enter_context(Mosquitto(self._folder / "broker", persistence=True))
            self.microphone = stack.enter_context(
                VirtualMicrophone(self._folder, "pipe", background=self._background)
            )
            self.baby = Baby(self.microphone)
            stack.callback(self.baby.calm_down)
            self.hub = stack.enter_context(
                HomeAssistant(self._folder / "hub", self.broker.port, self.phone.url, self._automations)
            )
            self.start_service()
            stack.callback(self.kill_service)
            self.hub.wait_for(CRYING, "off", 60)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def start_service(self) -> None:
        """A new process with the old state folder, as systemd starts it."""
        settings = [text for key, value in self._settings.items() for text in ("--set", f"{key}={value}")]
        sinks = ("--mqtt-host", self.broker.host, "--mqtt-port", str(self.broker.port))
        sinks += ("--jsonl", str(self._folder / "messages.jsonl"))
        self.service = Program("run", *sinks, *settings, **self.microphone.environment)

    def kill_service(self) -> None:
        """SIGKILL: a power cut for the monitor alone."""
        self.service.__exit__()

    def begun(self) -> list[str]:
        """Ids of all episodes that the service knows of, whoever was down when they began."""
        lines = (self._folder / "messages.jsonl").read_text().splitlines()
        messages = (json.loads(line) for line in lines if '"started"' in line)
        return [message["episode_id"] for message in messages if message["event_type"] == "started"]

    @contextlib.contextmanager
    def crying(self) -> Iterator[str]:
        """The baby cries in the block, which begins when Home Assistant knows; gives the episode's id."""
        self.baby.cry()
        try:
            yield self.hub.wait_for(CRYING, "on")["attributes"]["episode_id"]
        finally:
            self.baby.calm_down()

    def wait_until_calm(self) -> dict[str, Any]:
        return self.hub.wait_for(CRYING, "off", 60)
