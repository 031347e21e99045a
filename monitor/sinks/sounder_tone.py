"""The sounder's alarm: three beeps, made here. Without numpy, for its process waits all night."""

from __future__ import annotations

import math
from array import array
from functools import cache
from typing import Final

BEEPS: Final = 3
BEEP_S: Final = 0.4
GAP_S: Final = 0.2
_FADE_S: Final = 0.01
_SECOND: Final = 0.25
"""Share of the octave above: small speakers are heard better with it, and it is no baby's."""

ALARM_S: Final = BEEPS * (BEEP_S + GAP_S)


@cache
def alarm(rate_hz: int, tone_hz: float, volume: float) -> bytes:
    """One alarm, int16 in the machine's byte order, mono, with a peak of ``volume`` times full scale."""
    length = round(BEEP_S * rate_hz)
    last_s = (length - 1) / rate_hz
    beep = [_faded(n / rate_hz, last_s) * _wave(tone_hz * n / rate_hz) for n in range(length)]
    scale = 32767 * volume / max(map(abs, beep))
    gap = bytes(2 * round(GAP_S * rate_hz))
    return BEEPS * (array("h", (round(scale * value) for value in beep)).tobytes() + gap)


def _wave(turns: float) -> float:
    return math.sin(2 * math.pi * turns) + _SECOND * math.sin(4 * math.pi * turns)


def _faded(at_s: float, last_s: float) -> float:
    # Without a fade the speaker clicks.
    return min(1.0, at_s / _FADE_S, (last_s - at_s) / _FADE_S)
