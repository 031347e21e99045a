"""The microphone goes away, lies, or delivers rubbish."""

from __future__ import annotations

import os
import signal

import numpy as np

from tests.broker import wait_until
from tests.faults.fault import Fault
from tests.faults.live import DEVICE, LiveHouse
from tests.signals import full_scale_square, noise, silence

NO_AUDIO = "The microphone delivers no audio"
SILENCE_S = 13.0
"""The limit of 10 s by default, and a look a second."""


def _replug_elsewhere(house: LiveHouse) -> None:
    house.microphone.name_devices("aux", "card", "default", DEVICE)
    house.microphone.plug_in()


def _grab(house: LiveHouse) -> None:
    house.below.hold_device()
    os.kill(house.capture_child(), signal.SIGKILL)


def _kill_child(house: LiveHouse) -> None:
    os.kill(house.capture_child(), signal.SIGKILL)


def _hears_on(house: LiveHouse) -> None:
    heard_s = house.watcher.report()["counters"]["audio_s"]
    wait_until(lambda: house.watcher.report()["counters"]["audio_s"] > heard_s + 2, "audio goes on")


def _freeze_child(house: LiveHouse) -> None:
    os.kill(house.capture_child(), signal.SIGSTOP)


def _hear(samples: np.ndarray):
    return lambda house: house.microphone.hear(samples)


def _as_before(house: LiveHouse) -> None:
    house.microphone.hear(None)


MICROPHONE = (
    # The first in a new house: it heals within a second, and that audio was lost is told for a minute.
    Fault("capture process killed", "live", _kill_child, f"Audio was lost|{NO_AUDIO}", then=_hears_on),
    Fault(
        "sound daemon killed",
        "live",
        lambda house: house.microphone.kill(),
        NO_AUDIO,
        lambda house: house.microphone.restart(),
        quick=True,
    ),
    Fault(
        "unplugged",
        "live",
        lambda house: house.microphone.unplug(),
        NO_AUDIO,
        lambda house: house.microphone.plug_in(),
    ),
    Fault(
        "plugged in again under another index",
        "live",
        lambda house: house.microphone.unplug(),
        NO_AUDIO,
        _replug_elsewhere,
    ),
    Fault(
        "source stalled",
        "live",
        lambda house: house.microphone.stall(),
        NO_AUDIO,
        lambda house: house.microphone.resume(),
    ),
    Fault(
        "sound daemon frozen",
        "live",
        lambda house: house.microphone.freeze(),
        NO_AUDIO,
        lambda house: house.microphone.thaw(),
    ),
    Fault(
        "held by another program",
        "live",
        _grab,
        f"{NO_AUDIO}.*(in use by another program|none at all)",
        lambda house: house.below.release_device(),
    ),
    # It heals without anybody's help.
    Fault("capture process frozen", "live", _freeze_child, NO_AUDIO, lambda house: None),
    Fault("digital silence", "live", _hear(silence(1.0)), "digital silence", _as_before, SILENCE_S),
    Fault(
        "muted in the sound system",
        "live",
        lambda house: house.microphone.mute(muted=True),
        "digital silence",
        lambda house: house.microphone.mute(muted=False),
        SILENCE_S,
    ),
    Fault(
        "one value for ever",
        "live",
        _hear(np.full(16_000, -1234, np.int16)),
        "one constant value",
        _as_before,
        SILENCE_S,
    ),
    Fault("clipping", "live", _hear(full_scale_square(1.0)), "clips", _as_before, 5.0, 30.0),
    Fault(
        "direct current",
        "live",
        _hear((noise(1.0, -50.0) + 14_000).astype(np.int16)),
        "far off zero",
        _as_before,
        15.0,
        30.0,
    ),
    Fault(
        "half the sample rate it says",
        "live",
        lambda house: house.microphone.pace(0.5),
        "more or less audio than time passes",
        lambda house: house.microphone.pace(1.0),
        15.0,
        15.0,
    ),
)
