"""The demonstration's recording: an evening in a nursery, synthesised from a seed.

``python -m monitor.demo.synth OUT.flac`` writes the audio and, beside it, ``OUT.json`` with what
happens when. The bundled ``nursery.flac`` was made by exactly this command. Nothing in it was ever
recorded, so nobody's child is in our repository; :mod:`monitor.demo.voice` says what it is built on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from monitor.demo import room, voice
from monitor.demo.voice import Signal
from monitor.types import SAMPLE_RATE_HZ, samples, seconds

VERSION: Final = 2
"""Of the recipe below; raise it with every change that can be heard."""

SEED: Final = 11
DURATION_S: Final = 70.0
ROOM_DBFS: Final = -70.0

Kind = Literal["cry_bout", "cry", "door", "speech", "rustle", "kettle", "clatter"]


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of the ground truth. ``level_dbfs``: RMS while it sounds, dry.

    A ``cry_bout`` runs from the start of its first cry to the end of its last; each ``cry`` of it is
    listed too, with its median pitch.
    """

    kind: Kind
    onset_s: float
    offset_s: float
    level_dbfs: float
    f0_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """``samples``: int16, shape (n,), mono, 16 kHz."""

    samples: NDArray[np.int16]
    happenings: tuple[Happening, ...]
    seed: int

    def truth(self) -> dict[str, Any]:
        """The ground truth as JSON has it, times in seconds to the millisecond."""
        return {
            "version": VERSION,
            "seed": self.seed,
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "duration_s": seconds(len(self.samples)),
            "happenings": [asdict(happening) for happening in self.happenings],
        }


class _Stage:
    """Lays sounds into the room and keeps the book of them."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._sound = np.zeros(samples(DURATION_S))
        self._truth: list[Happening] = []

    def thing(self, kind: Kind, onset_s: float, sound: Signal, level_dbfs: float, near: float = 0.6) -> None:
        self._truth.append(self._lay(kind, onset_s, sound, level_dbfs, near=near))

    def bout(self, onset_s: float, until_s: float, f0_hz: float, level_dbfs: float, effort: float) -> None:
        """Cries and breaths until about ``until_s``, the first ones lower, softer and shorter."""
        rng, at, cries = self._rng, onset_s, list[Happening]()
        while at < until_s - 0.8:
            warm = min(1.0, (len(cries) + 1) / 4.0)
            length_s = float(rng.uniform(0.6, 0.9) + 0.5 * warm * rng.random())
            pitch = float(f0_hz * (0.9 + 0.1 * warm) * rng.uniform(0.94, 1.06))
            one = voice.cry(length_s, pitch, effort * warm, rng)
            level = level_dbfs - 7.0 * (1.0 - warm) + float(rng.uniform(-1.5, 1.5))
            cries.append(self._lay("cry", at, one.samples, level, f0_hz=float(np.median(one.f0_hz))))
            at = self._breathe(cries[-1].offset_s, level - 22.0)
        self._truth.append(Happening("cry_bout", cries[0].onset_s, cries[-1].offset_s, level_dbfs))
        self._truth.extend(cries)

    def mixed(self, seed: int) -> Scene:
        self._sound += 10.0 ** (ROOM_DBFS / 20.0) * room.room_tone(len(self._sound), self._rng)
        dithered = np.rint(self._sound * 32768.0)
        clipped = np.clip(dithered, -32768, 32767).astype(np.int16)
        by_time = sorted(self._truth, key=lambda happening: (happening.onset_s, -happening.offset_s))
        return Scene(clipped, tuple(by_time), seed)

    def _breathe(self, at_s: float, level_dbfs: float) -> float:
        """Let the baby draw breath in a pause of 0.3-0.8 s; returns where the next cry begins."""
        pause_s = float(self._rng.uniform(0.3, 0.8))
        length_s = min(pause_s - 0.08, float(self._rng.uniform(0.18, 0.32)))
        breath = voice.inhalation(length_s, self._rng)
        self._lay("cry", at_s + pause_s - length_s - 0.04, breath, level_dbfs)
        return at_s + pause_s

    def _lay(
        self,
        kind: Kind,
        onset_s: float,
        sound: Signal,
        level_dbfs: float,
        *,
        near: float = 1.0,
        f0_hz: float | None = None,
    ) -> Happening:
        start = samples(onset_s)
        loud = sound[np.abs(sound) > 0.05 * np.abs(sound).max()]
        gain = 10.0 ** (level_dbfs / 20.0) / np.sqrt(np.mean(loud**2))
        response = room.impulse_response(near, self._rng)
        heard = room.reverberate(np.pad(sound * gain, (0, len(response))), response)
        stop = min(start + len(heard), len(self._sound))
        self._sound[start:stop] += heard[: stop - start]
        return Happening(
            kind,
            round(seconds(start), 3),
            round(seconds(start + len(sound)), 3),
            round(level_dbfs, 1),
            None if f0_hz is None else round(f0_hz, 1),
        )


def nursery(seed: int = SEED) -> Scene:
    """The evening: a full cry bout, a fainter one, and what must not raise an alarm around them."""
    rng = np.random.default_rng([seed, 1])
    stage = _Stage(seed)
    stage.thing("door", 3.0, room.door(rng), -20.0)
    stage.thing("speech", 5.0, room.talk(5.0, 195.0, 1.15, rng), -27.0)
    stage.thing("rustle", 11.0, room.rustle(1.5, rng), -42.0)
    stage.bout(14.0, 27.5, 485.0, -20.0, 1.0)
    stage.thing("kettle", 36.5, room.kettle(3.5, rng), -32.0, near=0.3)
    stage.thing("clatter", 41.0, room.clatter(2.0, rng), -25.0)
    stage.thing("speech", 44.0, room.talk(3.0, 118.0, 1.0, rng), -28.0)
    stage.bout(48.5, 59.0, 470.0, -33.0, 0.6)
    return stage.mixed(seed)


def write(scene: Scene, audio: Path) -> Path:
    """Write the audio losslessly and its truth beside it; returns the truth's path."""
    soundfile.write(audio, scene.samples, SAMPLE_RATE_HZ, subtype="PCM_16", compression_level=1.0)
    truth = audio.with_suffix(".json")
    truth.write_text(json.dumps(scene.truth(), indent=1) + "\n", encoding="utf-8")
    return truth


def main(argv: list[str] | None = None) -> int:
    """Write the recording."""
    parser = argparse.ArgumentParser(prog="python -m monitor.demo.synth", description=main.__doc__)
    parser.add_argument("audio", type=Path, metavar="OUT.flac")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(argv)
    if options.audio.exists() and not options.audio.with_suffix(".json").exists():
        parser.error(f"{options.audio} exists and was not made by this program: name another file")
    truth = write(nursery(options.seed), options.audio)
    sys.stdout.write(f"{options.audio} and {truth} written\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
