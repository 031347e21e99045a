"""The cheap stage: it decides whether the gate model should hear a hop at all.

In a quiet room it answers no for a few microseconds a hop, and the night costs next to nothing. It
errs on the side of yes: a level well above the room's noise floor opens it alone, a small rise opens
it when the VAD agrees, and in a room with a loud floor it is always open.
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

FLOOR_RISE_DB: Final = 0.24
"""The noise floor climbs at most 1 dB a second: a new fan is learnt within a quarter of a minute, a
cry, which pauses for breath every second or so, never becomes the floor."""

LOUD_FLOOR_DBFS: Final = -55.0
"""Above this (high-passed) floor the stage never sleeps: under a fan or a white-noise machine a cry
may hardly raise the level."""

VAD_MARGIN_DB: Final = 2.5
"""A rise that is only believed when the VAD agrees."""

VAD_VOTES: Final = 2
"""Voiced frames among the hop's eight that agree."""

HOLD_HOPS: Final = 6
"""Hops that the stage stays open after its last reason, 1.4 s: a pause for breath."""

_FULL_SCALE_POWER: Final = 32768.0**2
_HIGH_PASS: Final = np.float32(0.95)
_TINY: Final = 1e-10


class VoiceDetector(Protocol):
    def reset(self) -> None: ...

    def voiced_frames(self, samples: NDArray[np.int16]) -> int: ...


@dataclass(frozen=True, slots=True)
class Activity:
    """What the stage says about one hop. Levels in dBFS; ``floor_dbfs`` is high-passed."""

    level_dbfs: Dbfs
    peak_dbfs: Dbfs
    floor_dbfs: Dbfs
    active: bool


class ActivityDetector:
    """Adaptive noise floor, level path and VAD path with a hold."""

    def __init__(self, vad: VoiceDetector, level_margin_db: float) -> None:
        self._vad = vad
        self._margin_db = level_margin_db
        self.vad_calls = 0
        self._wave = np.empty(HOP, np.float32)
        self._high_passed = np.empty(HOP, np.float32)
        self._ones = np.ones(HOP, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the room, as after a gap: the microphone may be another."""
        self._vad.reset()
        self._floor_db: float | None = None
        self._hold = 0
        self._last = np.float32(0.0)

    def process(self, samples: NDArray[np.int16]) -> Activity:
        """Judge one hop, int16 (HOP,)."""
        wave = self._wave
        wave[:] = samples
        # Products with a vector instead of reductions: the same sums in a third of the time.
        power = float(wave @ wave) / HOP - (float(wave @ self._ones) / HOP) ** 2
        frame_db = self._frame_levels(wave)
        quietest, loudest = min(frame_db), max(frame_db)
        floor = quietest if self._floor_db is None else min(quietest, self._floor_db + FLOOR_RISE_DB)
        rise = loudest - (floor if self._floor_db is None else self._floor_db)
        self._floor_db = floor
        if floor > LOUD_FLOOR_DBFS or rise > self._margin_db or self._voiced(rise, samples):
            self._hold = HOLD_HOPS
        else:
            self._hold = max(0, self._hold - 1)
        peak = max(abs(int(samples.max())), abs(int(samples.min())))
        return Activity(
            level_dbfs=_dbfs(power / _FULL_SCALE_POWER),
            peak_dbfs=_dbfs(peak * peak / _FULL_SCALE_POWER),
            floor_dbfs=Dbfs(max(floor, SILENCE_DBFS)),
            active=self._hold > 0,
        )

    def _frame_levels(self, wave: NDArray[np.float32]) -> list[float]:
        """High-passed level of each 30 ms frame: hum and rumble neither open nor deafen the stage."""
        high = self._high_passed
        high[0] = wave[0] - _HIGH_PASS * self._last
        np.multiply(wave[:-1], -_HIGH_PASS, out=high[1:])
        high[1:] += wave[1:]
        self._last = wave[-1]
        frames = high.reshape(FRAMES_PER_HOP, VAD_FRAME)
        power = np.einsum("ij,ij->i", frames, frames).tolist()
        return [10.0 * log10(p / (VAD_FRAME * _FULL_SCALE_POWER) + _TINY) for p in power]

    def _voiced(self, rise_db: float, samples: NDArray[np.int16]) -> bool:
        # The VAD sees only hops that are in doubt; it costs as much as all the rest of this stage.
        if rise_db < VAD_MARGIN_DB:
            return False
        self.vad_calls += 1
        return self._vad.voiced_frames(samples) >= VAD_VOTES


def _dbfs(power: float) -> Dbfs:
    return Dbfs(max(10.0 * log10(power), SILENCE_DBFS)) if power > 0.0 else SILENCE_DBFS
