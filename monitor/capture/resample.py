"""Streaming resampling to 16 kHz, int16 in and out."""

from __future__ import annotations

import atexit
import math
import weakref
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from monitor.types import SAMPLE_RATE_HZ

QUALITY: Final = "HQ"
"""soxr's default. Lower settings saved little in a measurement: the filter is not the cost."""

INT16_MIN: Final = -32_768
INT16_MAX: Final = 32_767


class Resampler:
    """One contiguous run of audio at ``rate_hz`` to 16 kHz. A new run needs a new one.

    Without a flush the output lags behind the input by the filter's delay; with it, n samples in give
    n * 16000 / rate_hz out, to within one sample. The same audio in other chunks gives the same
    output, and digital silence stays digital silence: that rules out soxr's own int16 output, which
    is dithered chunk by chunk.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        # At 16 kHz there is nothing to do, and the filter would only add delay.
        self._stream: soxr.ResampleStream | None = None
        if rate_hz != SAMPLE_RATE_HZ:
            self._stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality=QUALITY)
            _ALIVE.add(self)
        self.given = 0

    def push(self, audio: NDArray[np.int16]) -> NDArray[np.int16]:
        """``audio``: int16, shape (n,). Returns what is ready: int16, shape (m,), m may be 0."""
        stream = self._stream
        if stream is None:
            self.given += len(audio)
            return audio
        return self._counted(stream.resample_chunk(audio.astype(np.float32)))

    def flush(self) -> NDArray[np.int16]:
        """The rest of the run. Call it once."""
        stream = self._stream
        if stream is None:
            return np.zeros(0, np.int16)
        return self._counted(stream.resample_chunk(np.zeros(0, np.float32), last=True))

    def release(self) -> None:
        """Let the filter go, once and for all."""
        self._stream = None

    def still_needed(self, n_samples: int) -> int:
        """How many more samples have to go in before ``n_samples`` in all have come out, or nearly."""
        return max(0, math.ceil((n_samples - self.given) * self.rate_hz / SAMPLE_RATE_HZ))

    def _counted(self, output: NDArray[np.float32]) -> NDArray[np.int16]:
        self.given += len(output)
        return saturated(output)


_ALIVE: Final[weakref.WeakSet[Resampler]] = weakref.WeakSet()


@atexit.register
def _release_all() -> None:
    """Spare the user soxr's report of leaks: it takes whatever lives at the end of the process for one."""
    for resampler in list(_ALIVE):
        resampler.release()


def saturated(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    """``audio``: float32 in units of one int16 step; changed in place. Rounds and clips, never wraps."""
    np.rint(audio, out=audio)
    np.clip(audio, INT16_MIN, INT16_MAX, out=audio)
    return audio.astype(np.int16)
