"""The log-mel front end: the one definition, used by the runtime and by training.

Streaming and stateful so that each frame is computed once. A model's manifest carries
:func:`fingerprint`, and a model made for another front end is refused.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from monitor.types import SAMPLE_RATE_HZ

N_FFT: Final = 512
"""Window and FFT length: 32 ms resolves the harmonics of a cry (f0 300-600 Hz) from each other."""

FRAME_HOP: Final = 320
"""20 ms between frames."""

N_MELS: Final = 64
MEL_LOW_HZ: Final = 100.0
"""Above DC and hum; the Hann window keeps a DC offset within bins 0 and 1 (below 63 Hz)."""
MEL_HIGH_HZ: Final = 7600.0

POWER_FLOOR: Final = 1e-8
"""Added to each band's power (full-scale sine = 1): -80 dBFS, below a quiet room's bands."""

LOG_OFFSET: Final = 11.0
LOG_SCALE: Final = 5.0
"""(log + offset) / scale brings silence to about -1.5 and loud crying to about +1.5."""

FINGERPRINT_SCALE: Final = 20.0
"""The fingerprint rounds to 1/20 (0.25 nat): coarse enough to be the same on every processor."""

OVERLAP: Final = N_FFT - FRAME_HOP
"""Samples of the past that the first frame of a run needs."""


def mel_filters() -> NDArray[np.float32]:
    """Triangular filters, float32 (N_FFT // 2 + 1, N_MELS), linear in mel = 1127 ln(1 + f / 700).

    Each filter sums to 1 over its bins, so that white noise gives a flat log-mel spectrum.
    """
    bins_hz = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE_HZ / N_FFT
    bins_mel = 1127.0 * np.log1p(bins_hz / 700.0)
    low, high = 1127.0 * np.log1p(np.array([MEL_LOW_HZ, MEL_HIGH_HZ]) / 700.0)
    edges = np.linspace(low, high, N_MELS + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (bins_mel[:, None] - left) / (centre - left)
    fall = (right - bins_mel[:, None]) / (right - centre)
    weights = np.maximum(0.0, np.minimum(rise, fall))
    # The lowest filters are narrower than a bin and may hold none: give those their nearest bin.
    empty = weights.sum(axis=0) == 0
    nearest = np.abs(bins_mel[:, None] - centre).argmin(axis=0)
    weights[nearest[empty], np.flatnonzero(empty)] = 1.0
    return np.asarray(weights / weights.sum(axis=0), np.float32)


class _Workspace:
    """The arrays for runs of one length, so that a hop allocates nothing big."""

    def __init__(self, n_frames: int) -> None:
        self.run = np.zeros(OVERLAP + n_frames * FRAME_HOP, np.float32)
        item = self.run.itemsize
        self.frames = as_strided(self.run, (n_frames, N_FFT), (FRAME_HOP * item, item), writeable=False)
        self.windowed = np.empty((n_frames, N_FFT), np.float32)
        self.squares = np.empty((n_frames, 2 * (N_FFT // 2 + 1)), np.float32)


class LogMel:
    """Streaming log-mel spectra of int16 audio; keeps the last OVERLAP samples between calls."""

    def __init__(self) -> None:
        window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)
        # Full-scale int16 sine -> power 1 in its bin.
        self._window = (window * (2.0 / window.sum() / 32768.0)).astype(np.float32)
        # Real and imaginary parts lie side by side, so each weight stands twice: one product adds
        # their squares and the bands.
        self._filters = np.repeat(mel_filters(), 2, axis=0)
        self._past = np.zeros(OVERLAP, np.float32)
        self._space = _Workspace(1)

    def reset(self, past: NDArray[np.int16] | None = None) -> None:
        """Start behind ``past``, its last OVERLAP samples (fewer are preceded by silence)."""
        self._past[:] = 0.0
        if past is not None and len(past):
            tail = past[-OVERLAP:]
            self._past[OVERLAP - len(tail) :] = tail

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Frames of a run of audio, float32 (len(samples) // FRAME_HOP, N_MELS).

        ``samples``: int16 (n,), n a multiple of FRAME_HOP. Frame k ends at sample (k + 1) * FRAME_HOP.

        Raises
        ------
        ValueError
            If n is not a multiple of FRAME_HOP.
        """
        n_frames, rest = divmod(len(samples), FRAME_HOP)
        if rest:
            raise ValueError(f"samples: {len(samples)} is not a multiple of {FRAME_HOP}")
        if n_frames == 0:
            return np.empty((0, N_MELS), np.float32)
        if len(self._space.frames) != n_frames:
            self._space = _Workspace(n_frames)
        space = self._space
        space.run[:OVERLAP] = self._past
        space.run[OVERLAP:] = samples
        self._past[:] = space.run[-OVERLAP:]
        np.multiply(space.frames, self._window, out=space.windowed)
        spectrum = np.fft.rfft(space.windowed).astype(np.complex64, copy=False)
        np.square(spectrum.view(np.float32), out=space.squares)
        bands: NDArray[np.float32] = space.squares @ self._filters
        bands += np.float32(POWER_FLOOR)
        np.log(bands, out=bands)
        bands += np.float32(LOG_OFFSET)
        bands *= np.float32(1.0 / LOG_SCALE)
        return bands


def log_mel(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Frames of a whole recording behind silence, as the stream would compute them.

    The last ``len(samples) % FRAME_HOP`` samples are left out.
    """
    return LogMel().process(samples[: len(samples) // FRAME_HOP * FRAME_HOP])


def fingerprint() -> str:
    """Identify this front end: SHA-256 over its parameters and its rounded output on a fixed signal."""
    position = np.arange(SAMPLE_RATE_HZ // 2)
    chirp = 8000.0 * np.sin(2e-4 * position**1.9) + 200.0 * np.sign(np.sin(0.37 * position))
    frames = log_mel(np.rint(chirp).astype(np.int16))
    parameters = [
        SAMPLE_RATE_HZ,
        N_FFT,
        FRAME_HOP,
        N_MELS,
        MEL_LOW_HZ,
        MEL_HIGH_HZ,
        POWER_FLOOR,
        LOG_OFFSET,
        LOG_SCALE,
    ]
    digest = hashlib.sha256(json.dumps(parameters).encode())
    digest.update(
        (np.rint(frames.mean(axis=0, dtype=np.float64) * FINGERPRINT_SCALE)).astype("<i2").tobytes()
    )
    return digest.hexdigest()
