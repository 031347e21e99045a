"""Where the stream is: positions that join without holes, and real time turned into gaps."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.types import SAMPLE_RATE_HZ, Block, Gap, GapReason, SampleIndex, samples

ANNOUNCE_EVERY_S: Final = 1.0
HELD_BACK_S: Final = 0.5
"""Part of an outage not yet announced while it lasts. What a device delivers first was recorded
before we hear of it; had the gap reached up to now, that audio would be announced as lost."""


class Timeline:
    """Gives each run of audio or loss its place. ``delivered`` and ``lost`` are counts of samples."""

    def __init__(self) -> None:
        self.position = SampleIndex(0)
        self.delivered = 0
        self.lost = 0

    def block(self, audio: NDArray[np.int16]) -> Block:
        """``audio``: int16, shape (n,), n > 0; becomes read-only."""
        audio.flags.writeable = False
        block = Block(self.position, audio)
        self.position = block.stop
        self.delivered += len(audio)
        return block

    def gap(self, length: int, reason: GapReason) -> Gap:
        """``length``: samples, > 0."""
        gap = Gap(self.position, length, reason)
        self.position = gap.stop
        self.lost += length
        return gap


class Outage:
    """An ongoing loss of a live source, measured by the monotonic clock.

    ``since_s`` is when the audio delivered last had been recorded.
    """

    def __init__(self, since_s: float) -> None:
        self._since_s = since_s
        self._announced = 0

    def due(self, now_s: float) -> int:
        """Samples of silence to announce by now; 0 until about a second has gathered."""
        return self._announce(now_s - HELD_BACK_S, at_least=samples(ANNOUNCE_EVERY_S))

    def begin(self, now_s: float) -> int:
        """Samples to announce at once, when the loss is noticed."""
        return self._announce(now_s - HELD_BACK_S, at_least=1)

    def close(self, resumed_s: float) -> int:
        """Samples still unannounced when audio recorded from ``resumed_s`` on arrives."""
        return self._announce(resumed_s, at_least=1)

    def _announce(self, until_s: float, at_least: int) -> int:
        # From the whole length, not piece by piece: roundings must not add up over a night.
        length = int((until_s - self._since_s) * SAMPLE_RATE_HZ) - self._announced
        if length < at_least:
            return 0
        self._announced += length
        return length
