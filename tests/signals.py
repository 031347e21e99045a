"""Plain test signals, int16 mono 16 kHz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 16_000


def silence(duration_s: float) -> NDArray[np.int16]:
    return np.zeros(round(duration_s * RATE), np.int16)


def noise(duration_s: float, level_dbfs: float, seed: int = 0) -> NDArray[np.int16]:
    """White noise of an RMS level."""
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal(round(duration_s * RATE)) * 32768.0 * 10.0 ** (level_dbfs / 20.0)
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)


def tone(duration_s: float, frequency_hz: float, level_dbfs: float) -> NDArray[np.int16]:
    """A sine of an RMS level."""
    t = np.arange(round(duration_s * RATE)) / RATE
    wave = np.sqrt(2.0) * 32768.0 * 10.0 ** (level_dbfs / 20.0) * np.sin(2.0 * np.pi * frequency_hz * t)
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)


def full_scale_square(duration_s: float, frequency_hz: float = 440.0) -> NDArray[np.int16]:
    t = np.arange(round(duration_s * RATE)) / RATE
    return np.where(np.sin(2.0 * np.pi * frequency_hz * t) >= 0, 32767, -32768).astype(np.int16)
