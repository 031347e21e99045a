"""Crying beside a steady or cycling noise: scenes of one split in which only level and SNR differ.

A scene is noise, one bout of a baby's own cries, and noise again. Its level is that of the noise alone, its
SNR the level of the cry's active parts over it, both over the whole band. Nothing is convolved, filtered or
amplified afterwards, so that two scenes of another level hold the same samples, louder or quieter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training import mixing
from models.training.backgrounds import coloured_noise, without_silent_edges
from models.training.corpus import AudioStore, Clip, Split
from models.training.metrics import Bout
from models.training.mixing import FRAME_SAMPLES, Audio
from models.training.night_maker import is_doubtful, usable_cry
from monitor.errors import ConfigError
from monitor.types import SAMPLE_RATE_HZ, samples, seconds

BEFORE_S: Final = 15.0
"""Noise before the first cry: longer than a floor takes to be learnt."""
AFTER_S: Final = 6.0
BOUT_S: Final = 9.0
PAUSE_S: Final = 0.8
"""A breath between two cries of a bout."""
JOINT_S: Final = 0.5
SEAM_S: Final = 120.0
"""Length of synthetic noise before it repeats."""

STEADY: Final = ("white", "pink", "fan", "tap")
CYCLING: Final = ("waves", "oscillating_fan", "washing_machine", "switched")
"""A noise machine's surf, a fan that turns, a drum, and white noise that goes on and off."""
WAVE_S: Final = 9.0
WAVE_DB: Final = 12.0
TURN_S: Final = 20.0
TURN_DB: Final = 6.0
SWITCH_S: Final = 40.0
SWITCH_DB: Final = 20.0

RECORDED: Final = {
    "fan": "fan",
    "tap": "water",
    "washing_machine": "washing_machine",
    "oscillating_fan": "fan",
}
"""Noises that are recordings, and their label in the manifest."""


@dataclass(frozen=True, slots=True)
class Scene:
    """``audio``: int16 (n,), 16 kHz; the bouts in it, in seconds."""

    audio: NDArray[np.int16]
    bouts: Sequence[Bout]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One scene: which noise, its level in dBFS, the cry's SNR in dB, which baby."""

    noise: str
    level_dbfs: float
    snr_db: float
    baby: int


class NoiseScenes:
    """Makes scenes from one split. A noise of which the split has no recording comes from train."""

    def __init__(self, clips: Sequence[Clip], store: AudioStore, split: Split) -> None:
        self._store = store
        self._split: Split = split
        self._clips = clips
        self._babies: dict[str, list[Clip]] = {}
        for clip in clips:
            if clip.split == split and usable_cry(clip) and not is_doubtful(clip):
                self._babies.setdefault(clip.group, []).append(clip)
        if not self._babies:
            raise ConfigError(f"split {split!r} holds no verified cries.", "Prepare the whole data.")

    def scene(self, wanted: Wanted) -> Scene:
        """Noise, one bout, noise."""
        bout = self._bout(wanted.baby)
        before, after = samples(BEFORE_S), samples(AFTER_S)
        return self._mixed(wanted, [(before, bout)], before + len(bout) + after)

    def night(self, wanted: Wanted, length_s: float, every_s: float) -> Scene:
        """Noise for ``length_s`` and a bout of another baby every ``every_s``."""
        starts = range(samples(every_s), samples(length_s - every_s / 2.0), samples(every_s))
        bouts = [(start, self._bout(wanted.baby + k)) for k, start in enumerate(starts)]
        return self._mixed(wanted, bouts, samples(length_s))

    def _mixed(self, wanted: Wanted, bouts: Sequence[tuple[int, Audio]], n: int) -> Scene:
        noise = self._noise(wanted.noise, n, np.random.default_rng([wanted.baby, *wanted.noise.encode()]))
        track = mixing.at_level(noise, wanted.level_dbfs)
        loudness = wanted.level_dbfs + wanted.snr_db
        for start, cry in bouts:
            mixing.add_at(track, start, mixing.at_level(cry, loudness, active=True))
        audio = np.rint(mixing.clip_hard(track) * 32767.0).astype(np.int16)
        return Scene(audio, [Bout(seconds(start), seconds(start + len(cry))) for start, cry in bouts])

    def _bout(self, baby: int) -> Audio:
        """The baby's cries one after the other until they are long enough."""
        names = sorted(self._babies)
        own = self._babies[names[baby % len(names)]]
        pause = np.zeros(samples(PAUSE_S), np.float32)
        pieces: list[Audio] = []
        while sum(map(len, pieces)) < samples(BOUT_S):
            cry = _trimmed(self._store.samples(own[len(pieces) // 2 % len(own)]))
            pieces += [mixing.at_level(cry, -20.0, active=True), pause]
        return np.concatenate(pieces)[: samples(BOUT_S)]

    def _noise(self, name: str, n: int, rng: np.random.Generator) -> Audio:
        synthetic: dict[str, Callable[[], Audio]] = {
            "white": lambda: _coloured(n, 0.0, rng),
            "pink": lambda: _coloured(n, 1.0, rng),
            "waves": lambda: _swelling(_coloured(n, 1.0, rng), WAVE_S, WAVE_DB),
            "switched": lambda: _switched(_coloured(n, 0.0, rng)),
        }
        if name in synthetic:
            return synthetic[name]()
        recorded = self._recorded(RECORDED[name], n, rng)
        return _swelling(recorded, TURN_S, TURN_DB) if name == "oscillating_fan" else recorded

    def _recorded(self, label: str, n: int, rng: np.random.Generator) -> Audio:
        """The longest recording of a label, looped."""
        for split in (self._split, "train"):
            own = [clip for clip in self._clips if clip.label == label and clip.split == split]
            if own:
                longest = max(own, key=lambda clip: (clip.duration_s, clip.path))
                x = without_silent_edges(self._store.samples(longest))
                return mixing.loop_to_length(x, n, samples(JOINT_S), rng)
        raise ConfigError(f"there is no recording of {label!r}.", "Prepare the whole data.")


def _trimmed(x: Audio) -> Audio:
    heard = mixing.runs(mixing.active_mask(x))
    return x[heard[0][0] * FRAME_SAMPLES : heard[-1][1] * FRAME_SAMPLES] if heard else x


def _coloured(n: int, exponent: float, rng: np.random.Generator) -> Audio:
    return mixing.loop_to_length(coloured_noise(samples(SEAM_S), exponent, rng), n, 0, rng)


def _swelling(x: Audio, period_s: float, range_db: float) -> Audio:
    """Louder and quieter again by ``range_db`` in all, once in ``period_s``."""
    phase = 2.0 * np.pi * np.arange(len(x)) / (period_s * SAMPLE_RATE_HZ)
    return x * (10.0 ** (range_db / 40.0 * np.sin(phase))).astype(np.float32)


def _switched(x: Audio) -> Audio:
    """Off, which is quieter by SWITCH_DB, for half of each period; it begins with off."""
    on = np.arange(len(x)) // samples(SWITCH_S / 2.0) % 2 == 1
    return np.where(on, x, mixing.gain(x, -SWITCH_DB))
