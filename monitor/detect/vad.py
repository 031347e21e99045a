"""WebRTC's voice activity detector, the only module that imports it.

It is a detector of speech-like novelty, not of cries: it may wake the gate model, never veto it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from monitor.types import SAMPLE_RATE_HZ

VAD_FRAME: Final = 480
"""30 ms, the longest frame that it takes and the cheapest per second."""


class Vad:
    """Counts voiced frames. Adapts to the room, so it keeps state between calls."""

    def __init__(self, mode: int) -> None:
        self._mode = mode
        self._vad = webrtcvad.Vad(mode)

    def reset(self) -> None:
        """Forget the room; the library has no other way than a new detector."""
        self._vad = webrtcvad.Vad(self._mode)

    def voiced_frames(self, samples: NDArray[np.int16]) -> int:
        """How many 30 ms frames of ``samples`` (int16, a multiple of VAD_FRAME) are voiced."""
        data = samples.tobytes()
        size = 2 * VAD_FRAME
        return sum(self._vad.is_speech(data[k : k + size], SAMPLE_RATE_HZ) for k in range(0, len(data), size))
