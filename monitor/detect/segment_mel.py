"""The verifier's front end: log-mel bands of one whole segment, as its pre-trained trunk expects them.

EfficientAT's networks hear 32 kHz audio: pre-emphasis, 25 ms Hann windows every 10 ms, 128 Kaldi mel bands up
to 15 kHz (Schmid, Koutini, Widmer 2023). Nothing above 8 kHz is in our audio, so the same bands are computed
at 16 kHz: half the window at half the rate has the same bins, the pre-emphasis becomes a weight on them, and
bands without a bin stay at the floor. A test holds this against the arithmetic at 32 kHz.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitor.types import SAMPLE_RATE_HZ

SEGMENT_SAMPLES: Final = 38_400
"""2.4 s, ten hops of the gate: two bursts of a cry with the breath between them."""

N_FFT: Final = 512
WINDOW: Final = 400
FRAME_HOP: Final = 160
"""10 ms."""
N_FRAMES: Final = (SEGMENT_SAMPLES - N_FFT) // FRAME_HOP + 1
N_BANDS: Final = 128
TOP_HZ: Final = 15_000.0
TRUNK_RATE_HZ: Final = 32_000
PRE_EMPHASIS: Final = 0.97
POWER_FLOOR: Final = 1e-5
LOG_OFFSET: Final = 4.5
LOG_SCALE: Final = 5.0
FRAMES_AT_ONCE: Final = 40
"""Keeps the spectra of a part in the cache, and 2 MB out of a small machine's memory."""
FINGERPRINT_SCALE: Final = 20.0
"""The fingerprint rounds to 1/20, the same on every processor."""


def mel_bands() -> NDArray[np.float64]:
    """Triangles linear in mel = 1127 ln(1 + f / 700) from 0 to TOP_HZ: (N_FFT // 2 + 1, N_BANDS)."""
    bins = 1127.0 * np.log1p(np.arange(N_FFT // 2 + 1) * SAMPLE_RATE_HZ / N_FFT / 700.0)
    edges = np.linspace(0.0, 1127.0 * np.log1p(TOP_HZ / 700.0), N_BANDS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (bins[:, None] - left) / (centre - left)
    fall = (right - bins[:, None]) / (right - centre)
    return np.asarray(np.maximum(0.0, np.minimum(rise, fall)))


@cache
def _weights() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Window (N_FFT,), and bands per squared real or imaginary part (2 * n_bins, N_BANDS)."""
    window = np.zeros(N_FFT)
    position = np.arange(WINDOW) + 0.5
    # Half a sample off: these are every other pair's middle of the 800 samples at 32 kHz.
    window[(N_FFT - WINDOW) // 2 : (N_FFT + WINDOW) // 2] = 0.5 - 0.5 * np.cos(
        2.0 * np.pi * position / WINDOW
    )
    turn = 2.0 * np.pi * np.arange(N_FFT // 2 + 1) * SAMPLE_RATE_HZ / N_FFT / TRUNK_RATE_HZ
    emphasis = 1.0 + PRE_EMPHASIS**2 - 2.0 * PRE_EMPHASIS * np.cos(turn)
    # Twice the samples at 32 kHz give twice the amplitude.
    bands = mel_bands() * (4.0 * emphasis)[:, None]
    return (window / 32768.0).astype(np.float32), np.repeat(bands, 2, axis=0).astype(np.float32)


def segment_mel(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Bands of one segment, float32 (N_BANDS, N_FRAMES), of int16 (SEGMENT_SAMPLES,).

    Raises
    ------
    ValueError
        If the segment has another length.
    """
    if len(samples) != SEGMENT_SAMPLES:
        raise ValueError(f"samples: {len(samples)} are no segment of {SEGMENT_SAMPLES}")
    window, bands = _weights()
    runs = sliding_window_view(samples.astype(np.float32), N_FFT)[::FRAME_HOP]
    mel = np.empty((N_FRAMES, N_BANDS), np.float32)
    for first in range(0, N_FRAMES, FRAMES_AT_ONCE):
        part = slice(first, first + FRAMES_AT_ONCE)
        spectrum = np.fft.rfft(runs[part] * window).astype(np.complex64, copy=False)
        np.matmul(np.square(spectrum.view(np.float32)), bands, out=mel[part])
    mel += np.float32(POWER_FLOOR)
    np.log(mel, out=mel)
    mel += np.float32(LOG_OFFSET)
    mel *= np.float32(1.0 / LOG_SCALE)
    return mel.T


def fingerprint() -> str:
    """Identify this front end: SHA-256 over its parameters and its rounded output on a fixed signal."""
    position = np.arange(SEGMENT_SAMPLES)
    chirp = 8000.0 * np.sin(1e-4 * position**1.9) + 200.0 * np.sign(np.sin(0.37 * position))
    mel = segment_mel(np.rint(chirp).astype(np.int16))
    parameters = [
        SAMPLE_RATE_HZ, SEGMENT_SAMPLES, N_FFT, WINDOW, FRAME_HOP, N_BANDS, TOP_HZ, PRE_EMPHASIS, POWER_FLOOR,
        LOG_OFFSET, LOG_SCALE,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(parameters).encode())
    rounded = np.rint(mel.mean(axis=1, dtype=np.float64) * FINGERPRINT_SCALE)
    digest.update(rounded.astype("<i2").tobytes())
    return digest.hexdigest()
