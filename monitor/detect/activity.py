"""The cheap stage: it decides whether the gate model should hear a hop at all.

In a quiet room it answers no for a few microseconds a hop, and the night costs next to nothing. It
errs on the side of yes: a rise well above the room's noise in any of the narrow bands in which a cry has its
harmonics opens it alone, a smaller rise opens it when the VAD agrees.

Only ratios count. A cry that is as loud as a noise machine raises the level by 3 dB, but the bands of its
harmonics by 10 and more, whatever the microphone's gain. Steady noise stays below the margin in every band
and lets the stage sleep; noise that comes and goes keeps it awake.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.detect.vad import VAD_FRAME
from monitor.types import SILENCE_DBFS, Dbfs

HOP: Final = 3840
"""240 ms, the decision step of the whole detector: 8 VAD frames, 12 log-mel frames."""

FRAMES_PER_HOP: Final = HOP // VAD_FRAME

SLICE: Final = 128
"""8 ms, the window in which bands are told apart: 125 Hz from one to the next, harmonics of a cry are 300-600
Hz apart."""

SLICES: Final = HOP // SLICE
BANDS: Final = range(3, 35)
"""375 Hz to 4.25 kHz, where cries have most of their power; hum and rumble lie below."""

FLOOR_RISE_DB: Final = 0.24
"""A band's floor climbs at most 1 dB a second: a new fan is learnt within a quarter of a minute, a cry,
which pauses for breath every second or so, never becomes the floor."""

CONVERTER_POWER: Final = 1.0
"""Added to each band's power, in squares of the last bit, the one absolute level in here: below the last
bit (RMS) there is only the converter's own noise, and a rise of that is none."""

VAD_MARGIN_DB: Final = 4.0
"""A rise that is only believed when the VAD agrees. Steady noise itself has 2.5 dB in the highest of the
bands, and exceeds 4.0 in one hop of a hundred."""

VAD_VOTES: Final = 2
"""Voiced frames among the hop's eight that agree."""

HOLD_HOPS: Final = 6
"""Hops that the stage stays open after its last reason, 1.4 s: a pause for breath. It begins open, since what
it hears first may be crying as well as the room."""

_FULL_SCALE_POWER: Final = 32768.0**2
_FLOOR_RISE: Final = np.float32(10.0 ** (FLOOR_RISE_DB / 10.0))
_BAND_SHARE: Final = SLICE / 2
"""White noise has this many times a band's power in the whole spectrum."""


class VoiceDetector(Protocol):
    def reset(self) -> None: ...

    def voiced_frames(self, samples: NDArray[np.int16]) -> int: ...


@dataclass(frozen=True, slots=True)
class Activity:
    """What the stage says about one hop. Levels in dBFS; ``floor_dbfs`` is that of all bands together."""

    level_dbfs: Dbfs
    peak_dbfs: Dbfs
    floor_dbfs: Dbfs
    active: bool


class ActivityDetector:
    """An adaptive noise floor in each band, a path past the VAD and one through it, with a hold."""

    def __init__(self, vad: VoiceDetector, level_margin_db: float) -> None:
        self._vad = vad
        self._margin_db = level_margin_db
        self.vad_calls = 0
        self._wave = np.empty(HOP, np.float32)
        self._ones = np.ones(HOP, np.float32)
        self._basis = _basis()
        self._parts = np.empty((SLICES, 2 * len(BANDS)), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the room, as after a gap: the microphone may be another."""
        self._vad.reset()
        self._floor: NDArray[np.float32] | None = None
        self._hold = HOLD_HOPS + 1

    def process(self, samples: NDArray[np.int16]) -> Activity:
        """Judge one hop, int16 (HOP,)."""
        wave = self._wave
        wave[:] = samples
        # Products with a vector instead of reductions: the same sums in a third of the time.
        power = float(wave @ wave) / HOP - (float(wave @ self._ones) / HOP) ** 2
        rise = self._rise_db(self._band_powers(wave))
        if rise > self._margin_db or self._voiced(rise, samples):
            self._hold = max(self._hold - 1, HOLD_HOPS)
        else:
            self._hold = max(0, self._hold - 1)
        peak = max(abs(int(samples.max())), abs(int(samples.min())))
        return Activity(
            level_dbfs=_dbfs(power / _FULL_SCALE_POWER),
            peak_dbfs=_dbfs(peak * peak / _FULL_SCALE_POWER),
            floor_dbfs=self._floor_dbfs(),
            active=self._hold > 0,
        )

    def _band_powers(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean power of each band over the hop, float32 (len(BANDS),), as if all bands were as loud as it."""
        parts = np.matmul(wave.reshape(SLICES, SLICE), self._basis, out=self._parts)
        np.square(parts, out=parts)
        sums = self._ones[:SLICES] @ parts
        powers: NDArray[np.float32] = sums[: len(BANDS)] + sums[len(BANDS) :]
        powers *= np.float32(1.0 / SLICES)
        powers += np.float32(CONVERTER_POWER)
        return powers

    def _rise_db(self, powers: NDArray[np.float32]) -> float:
        """How far the band that rose most lies above its floor; the floors follow."""
        floor = powers if self._floor is None else self._floor
        self._floor = np.minimum(powers, floor * _FLOOR_RISE)
        return 10.0 * log10(float((powers / floor).max()))

    def _floor_dbfs(self) -> Dbfs:
        assert self._floor is not None
        power = float(self._floor @ self._ones[: len(BANDS)]) - len(BANDS) * CONVERTER_POWER
        return _dbfs(power / _BAND_SHARE / _FULL_SCALE_POWER)

    def _voiced(self, rise_db: float, samples: NDArray[np.int16]) -> bool:
        # The VAD sees only hops that are in doubt; it costs as much as all the rest of this stage.
        if rise_db < VAD_MARGIN_DB:
            return False
        self.vad_calls += 1
        return self._vad.voiced_frames(samples) >= VAD_VOTES


def _basis() -> NDArray[np.float32]:
    """Cosines and sines of each band under a Hann window of unit energy, (SLICE, 2 * len(BANDS))."""
    n = np.arange(SLICE) + 0.5
    window = np.sin(np.pi * n / SLICE) ** 2
    window /= np.sqrt(np.sum(window**2))
    phase = 2.0 * np.pi * np.outer(n, np.array(BANDS)) / SLICE
    parts = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) * window[:, None]
    return np.asarray(parts, np.float32)


def _dbfs(power: float) -> Dbfs:
    return Dbfs(max(10.0 * log10(power), SILENCE_DBFS)) if power > 0.0 else SILENCE_DBFS
