"""The sounder's alarm: three beeps, made here."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BEEPS: Final = 3
BEEP_S: Final = 0.4
GAP_S: Final = 0.2
_FADE_S: Final = 0.01
_SECOND: Final = 0.25
"""Share of the octave above: small speakers are heard better with it, and it is no baby's."""

ALARM_S: Final = BEEPS * (BEEP_S + GAP_S)


def alarm(rate_hz: int, tone_hz: float, volume: float) -> NDArray[np.int16]:
    """One alarm, shape (n,), with a peak of ``volume`` times full scale."""
    t = np.arange(round(BEEP_S * rate_hz)) / rate_hz
    wave = np.sin(2 * np.pi * tone_hz * t) + _SECOND * np.sin(4 * np.pi * tone_hz * t)
    # Without a fade the speaker clicks.
    fade = np.clip(np.minimum(t, t[-1] - t) / _FADE_S, 0, 1)
    beep = wave * fade
    beep *= volume / np.abs(beep).max()
    gap = np.zeros(round(GAP_S * rate_hz))
    whole: NDArray[np.float64] = np.tile(np.concatenate([beep, gap]), BEEPS)
    return np.rint(32767 * whole).astype(np.int16)
