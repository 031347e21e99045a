import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.broker import mosquitto
from tests.virtual_microphone import virtual_microphone

__all__ = ["mosquitto", "virtual_microphone"]

NURSERY = Path(__file__).parents[2] / "monitor" / "demo" / "nursery.flac"
RATE_HZ = 16_000


@pytest.fixture(autouse=True)
def _bare_configuration(monkeypatch):
    """The machine may have a configuration of its own."""
    monkeypatch.setenv("CRADLEWATCH_CONFIG", os.devnull)
    monkeypatch.delenv("CRADLEWATCH_MQTT__HOST", raising=False)


@pytest.fixture(scope="session")
def crying(tmp_path_factory) -> Path:
    """The second bout of the demonstration, with a second before it: the cry begins at 1.0 s."""
    audio, _ = soundfile.read(NURSERY, dtype="int16", start=95 * RATE_HZ // 2, stop=64 * RATE_HZ)
    path = tmp_path_factory.mktemp("recordings") / "crying.wav"
    soundfile.write(path, audio, RATE_HZ)
    return path


@pytest.fixture(scope="session")
def quiet(tmp_path_factory) -> Path:
    """A room in which nothing happens."""
    audio = np.random.default_rng(1).normal(0, 20, 10 * RATE_HZ).astype(np.int16)
    path = tmp_path_factory.mktemp("recordings") / "quiet.wav"
    soundfile.write(path, audio, RATE_HZ)
    return path
