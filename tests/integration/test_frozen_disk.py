"""A cry while the state folder's disk does not answer: real program, real broker, real frozen file system.

``python -m tests.integration.test_frozen_disk`` prints after how many seconds each way out delivered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import soundfile

from tests.broker import Mosquitto, Subscriber, free_port, wait_until
from tests.faults import card
from tests.faults.card import SdCard
from tests.sinks.receivers import HttpReceiver

ROOT: Final = Path(__file__).parents[2]
NURSERY: Final = ROOT / "monitor" / "demo" / "nursery.flac"
CRY_FROM_S: Final = 11.0
"""Where the recording is cut: three seconds before its first cry."""
NOT_LATER_S: Final = 2.0
STARTS_WITHIN_S: Final = 60.0
MISSING: Final = card.missing()


class Nursery:
    """The program with a hub, a phone and a speaker, and its state on a card."""

    def __init__(self, folder: Path, card: SdCard, hub_port: int, phone: HttpReceiver) -> None:
        self.began_s: dict[str, float] = {}
        self._folder = folder
        self._state = card.path
        self._lines: list[str] = []
        with soundfile.SoundFile(NURSERY) as whole:
            whole.seek(int(CRY_FROM_S * whole.samplerate))
            soundfile.write(folder / "cry.flac", whole.read(dtype="int16"), whole.samplerate)
        channels = folder / "channels.toml"
        channels.write_text(f'[[channel]]\nname = "Mum"\nurl = "json://{phone.address}/alarm"\n')
        channels.chmod(0o600)
        self._settings = {
            "device.id": "nursery",
            "mqtt.host": "127.0.0.1",
            "mqtt.port": hub_port,
            "service.state_dir": self._state,
            "push.channels_file": channels,
            "sounder.enabled": "true",
            "sounder.after_s": 5,
            "clips.enabled": "true",
        }

    def start(self) -> None:
        options = [word for key, value in self._settings.items() for word in ("--set", f"{key}={value}")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "run", "--file", str(self._folder / "cry.flac"), *options],
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
            | {"CRADLEWATCH_CONFIG": os.devnull},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("service.ready")

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr:
            for line in self._process.stderr:
                self._lines.append(line)
                for event in ("service.ready", "episode.started", "sounder.sounding"):
                    if event in line:
                        self.began_s.setdefault(event, time.monotonic())

    def wait_for(self, event: str, timeout_s: float = STARTS_WITHIN_S) -> float:
        wait_until(lambda: event in self.began_s or self._process.poll() is not None, event, timeout_s)
        assert event in self.began_s, self.log
        return self.began_s[event]

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(STARTS_WITHIN_S)
        self._reader.join(STARTS_WITHIN_S)


def cry_while(
    folder: Path, *, freezes: Callable[[SdCard, Callable[[], None]], None], hub_is_there: bool = True
) -> dict[str, float]:
    """Let the baby cry; by way out, the seconds from the detection until it delivered."""
    folder.mkdir(exist_ok=True)
    with (
        Mosquitto(folder / "broker") as broker,
        Subscriber(broker.port) as hub,
        HttpReceiver() as phone,
        SdCard(folder / "sd") as disk,
    ):
        if not hub_is_there:
            phone.answers.extend([503] * 1000)
        nursery = Nursery(folder, disk, broker.port if hub_is_there else free_port(), phone)
        freezes(disk, nursery.start)
        try:
            began_s = nursery.wait_for("episode.started")
            seconds = {}
            if hub_is_there:
                seen = hub.wait_for(lambda seen: any(is_cry(one.topic, one.payload) for one in seen))
                arrived = next(one.arrived_s for one in seen if is_cry(one.topic, one.payload))
                seconds["mqtt"] = arrived - began_s
                wait_until(lambda: phone.received, "the phone is told")
                seconds["push"] = time.monotonic() - began_s
            else:
                seconds["speaker"] = nursery.wait_for("sounder.sounding") - began_s
            return seconds
        finally:
            disk.thaw_if_frozen()
            nursery.kill()


def is_cry(topic: str, payload: str) -> bool:
    return topic == "cradlewatch/nursery/cry" and json.loads(payload)["event_type"] == "started"


def never(disk: SdCard, start: Callable[[], None]) -> None:
    start()


def when_ready(disk: SdCard, start: Callable[[], None]) -> None:
    start()
    disk.freeze()


def before_the_start(disk: SdCard, start: Callable[[], None]) -> None:
    disk.freeze()
    start()


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("freezes", [when_ready, before_the_start])
@pytest.mark.parametrize("hub_is_there", [True, False])
def test_a_cry_leaves_by_every_way_while_the_disk_is_frozen(tmp_path, freezes, hub_is_there):
    undisturbed = cry_while(tmp_path / "fine", freezes=never, hub_is_there=hub_is_there)
    frozen = cry_while(tmp_path / "frozen", freezes=freezes, hub_is_there=hub_is_there)
    for way, after_s in undisturbed.items():
        assert frozen[way] < after_s + NOT_LATER_S, f"{way}: {frozen} instead of {undisturbed}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for hub_is_there in (True, False):
            for freezes in (never, when_ready, before_the_start):
                folder = Path(name) / f"{freezes.__name__}-{hub_is_there}"
                found = cry_while(folder, freezes=freezes, hub_is_there=hub_is_there)
                told = ", ".join(f"{way} {seconds:.2f} s" for way, seconds in found.items())
                print(f"hub {'up' if hub_is_there else 'away'}, disk frozen {freezes.__name__}: {told}")
