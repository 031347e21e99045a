"""The microphone goes away, lies, or delivers rubbish."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import numpy as np

from tests.broker import wait_until
from tests.faults.fault import Fault
from tests.faults.live import DEVICE, LiveHouse
from tests.signals import noise, silence

NO_AUDIO = "The microphone delivers no audio"
DEAF = "nothing is heard"
SILENCE_S = 13.0
SILENCE_WHY = "silence is called a fault after 10 s; then a look, and the hop to the hub"
CLIPPED_WHY = "a mean over 10 s rises and falls through 2 % of the samples, in 39 s at worst"
OFFSET_WHY = "a mean over 10 s rises and falls through 0.2 of full scale within 10 s"


def _replug_elsewhere(house: LiveHouse) -> None:
    house.microphone.name_devices("aux", "card", "default", DEVICE)
    house.microphone.plug_in()


def _grab(house: LiveHouse) -> None:
    house.below.hold_device()
    os.kill(house.capture_child(), signal.SIGKILL)


def _kill_child(house: LiveHouse) -> None:
    os.kill(house.capture_child(), signal.SIGKILL)


def _hears_on(house: LiveHouse) -> None:
    heard_s = _heard_s(house)
    wait_until(lambda: _heard_s(house) > heard_s + 2, "audio goes on")


def _freeze_child(house: LiveHouse) -> None:
    os.kill(house.capture_child(), signal.SIGSTOP)


def _hear(samples: np.ndarray):
    return lambda house: house.microphone.hear(samples)


def _as_before(house: LiveHouse) -> None:
    house.microphone.hear(None)
    house.distort(None)


def _clipped(samples: np.ndarray) -> np.ndarray:
    return np.clip(30.0 * samples, -32768, 32767).astype(np.int16)


def _shifted(samples: np.ndarray) -> np.ndarray:
    return np.clip(samples.astype(np.int32) + 14_000, -32768, 32767).astype(np.int16)


def _distort(how: Callable[[np.ndarray], np.ndarray]) -> Callable[[LiveHouse], None]:
    """Let everything sound like that, the room as well, for a while before the baby cries."""

    def inject(house: LiveHouse) -> None:
        house.microphone.hear(how(noise(10.0, -55.0)))
        house.distort(how)
        heard_s = _heard_s(house)
        wait_until(lambda: _heard_s(house) > heard_s + 3, "the room is heard")

    return inject


def _heard_s(house: LiveHouse) -> float:
    return house.watcher.report().get("counters", {}).get("audio_s", 0.0)


MICROPHONE = (
    # It heals within two seconds; that audio was lost is told for a minute.
    Fault(
        "capture process killed",
        "live",
        _kill_child,
        f"Audio was lost|{NO_AUDIO}",
        then=_hears_on,
        later_s=2.0,
        later_why="a new process listens within 2 s",
    ),
    Fault(
        "sound daemon killed",
        "live",
        lambda house: house.microphone.kill(),
        NO_AUDIO,
        lambda house: house.microphone.restart(),
        quick=True,
        deaf=DEAF,
    ),
    Fault(
        "unplugged",
        "live",
        lambda house: house.microphone.unplug(),
        NO_AUDIO,
        lambda house: house.microphone.plug_in(),
        deaf=DEAF,
    ),
    Fault(
        "plugged in again under another index",
        "live",
        lambda house: house.microphone.unplug(),
        NO_AUDIO,
        _replug_elsewhere,
        deaf=DEAF,
    ),
    Fault(
        "source stalled",
        "live",
        lambda house: house.microphone.stall(),
        NO_AUDIO,
        lambda house: house.microphone.resume(),
        deaf=DEAF,
    ),
    Fault(
        "sound daemon frozen",
        "live",
        lambda house: house.microphone.freeze(),
        NO_AUDIO,
        lambda house: house.microphone.thaw(),
        deaf=DEAF,
    ),
    Fault(
        "held by another program",
        "live",
        _grab,
        f"{NO_AUDIO}.*(in use by another program|none at all)",
        lambda house: house.below.release_device(),
        deaf=DEAF,
    ),
    # It heals without anybody's help.
    Fault(
        "capture process frozen",
        "live",
        _freeze_child,
        NO_AUDIO,
        lambda house: None,
        later_s=4.0,
        later_why="it is killed when it has been silent for 2 s, and a new one listens within 2 s",
    ),
    Fault(
        "digital silence",
        "live",
        _hear(silence(1.0)),
        "digital silence",
        _as_before,
        SILENCE_S,
        why=SILENCE_WHY,
        deaf=DEAF,
    ),
    Fault(
        "muted in the sound system",
        "live",
        lambda house: house.microphone.mute(muted=True),
        "digital silence",
        lambda house: house.microphone.mute(muted=False),
        SILENCE_S,
        why=SILENCE_WHY,
        deaf=DEAF,
    ),
    Fault(
        "one value for ever",
        "live",
        _hear(np.full(16_000, -1234, np.int16)),
        "one constant value",
        _as_before,
        SILENCE_S,
        why=SILENCE_WHY,
        deaf=DEAF,
    ),
    Fault("clipping", "live", _distort(_clipped), "clips", _as_before, 15.0, 45.0, why=CLIPPED_WHY),
    Fault(
        "direct current", "live", _distort(_shifted), "far off zero", _as_before, 15.0, 30.0, why=OFFSET_WHY
    ),
    Fault(
        "half the sample rate it says",
        "live",
        lambda house: house.microphone.pace(0.5),
        "more or less audio than time passes",
        lambda house: house.microphone.pace(1.0),
        15.0,
        15.0,
        why="the rate is measured over 8 s, 4 s after a start",
        deaf="at half the rate a cry is an octave lower, and no cry",
    ),
)
