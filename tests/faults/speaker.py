"""The speaker of last resort: a PortAudio output into a PulseAudio daemon of its own, and an ear at it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Final, Self

import numpy as np

from tests.virtual_microphone import VirtualMicrophone

DEVICE: Final = "bedside"
RATE_HZ: Final = 8000
CHUNK_S: Final = 0.025
LOUD: Final = 1000
"""Of 32,767; the alarm's peak is at 0.8 of full scale, and nothing else plays there."""


class Speaker:
    """A null sink whose monitor is listened to as long as the ``with`` block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._daemon = VirtualMicrophone(folder, "sink")
        self._heard = threading.Lock()
        self._times_s: list[float] = []

    @property
    def alsa(self) -> str:
        """What makes it a device of ALSA, and so of PortAudio, beside others."""
        server = self._daemon.environment["PULSE_SERVER"]
        return f'pcm.{DEVICE} {{ type pulse server "{server}" hint {{ show on description "speaker" }} }}\n'

    def first_sound_s(self, since_s: float) -> float | None:
        """When it first sounded after ``since_s``, both monotonic."""
        with self._heard:
            return next((at_s for at_s in self._times_s if at_s >= since_s), None)

    def forget(self) -> None:
        with self._heard:
            self._times_s.clear()

    def __enter__(self) -> Self:
        self._daemon.__enter__()
        form = [f"--rate={RATE_HZ}", "--channels=1", "--format=s16le", "--raw", "--latency-msec=20"]
        self._ear = subprocess.Popen(
            ["parec", *form, "--device=room.monitor"],
            env=os.environ | self._daemon.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ear.kill()
        self._ear.wait(20)
        self._thread.join(20)
        self._daemon.__exit__()

    def _listen(self) -> None:
        assert self._ear.stdout is not None
        with self._ear.stdout as stream:
            while chunk := stream.read(2 * round(CHUNK_S * RATE_HZ)):
                loudest = np.abs(np.frombuffer(chunk[: len(chunk) & ~1], "<i2").astype(np.int32)).max()
                if loudest > LOUD:
                    with self._heard:
                        self._times_s.append(time.monotonic())
