"""The manifest's measured columns: length, level, peak, clipping, bandwidth."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.types import SAMPLE_RATE_HZ

SILENCE_DB: Final = -120.0
ROLLOFF_SHARE: Final = 0.99
ROLLOFF_WINDOW: Final = 1024


def columns(pcm: NDArray[np.int16]) -> dict[str, str]:
    """``duration_s, rms_db, peak, clip_frac, rolloff_hz`` of int16 (n,), 16 kHz, as text."""
    samples = pcm.astype(np.float64) / 32768.0
    power = float(np.mean(samples**2))
    full = np.abs(pcm.astype(np.int32)) >= 32767
    return {
        "duration_s": f"{round(len(pcm) / SAMPLE_RATE_HZ, 3)}",
        "rms_db": f"{round(max(SILENCE_DB, 10 * np.log10(power + 1e-12)), 1)}",
        "peak": f"{round(float(np.abs(samples).max()), 4)}",
        "clip_frac": f"{round(float(full.mean()), 5)}",
        "rolloff_hz": f"{round(rolloff_hz(samples))}",
    }


def rolloff_hz(samples: NDArray[np.float64]) -> float:
    """Frequency below which 99 % of the energy lies, from windows of 64 ms."""
    n = max(1, -(-len(samples) // ROLLOFF_WINDOW))
    framed = np.pad(samples, (0, n * ROLLOFF_WINDOW - len(samples))).reshape(n, ROLLOFF_WINDOW)
    power = (np.abs(np.fft.rfft(framed * np.hanning(ROLLOFF_WINDOW))) ** 2).sum(axis=0)
    if not power.any():
        return 0.0
    share = np.cumsum(power) / power.sum()
    return float(np.searchsorted(share, ROLLOFF_SHARE)) * SAMPLE_RATE_HZ / ROLLOFF_WINDOW
