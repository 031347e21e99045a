"""Whether the microphone delivers a signal: a broken one goes on delivering one value, or distorts."""

from __future__ import annotations

from typing import Final

import numpy as np

from monitor.types import Block, Gap, SampleIndex, seconds

AVERAGED_OVER_S: Final = 10.0
"""A slammed door clips for a moment; a gain that is too high clips with every cry."""
FULL_SCALE: Final = 32767


class SignalWatch:
    """Measures for how long the samples have not moved at all, how many are clipped, and their offset.

    A quiet room is never constant: the converter's own noise moves the last bit. Digital zeros are
    the usual constant (mute), any other one is a stuck converter. The detector's thread observes,
    any thread reads.
    """

    def __init__(self) -> None:
        self._value: int | None = None
        self._since: SampleIndex | None = None
        self.constant_s = 0.0
        """For how long the newest samples have had one value."""
        self.clipped_share = 0.0
        """Of the samples of the last seconds, those at full scale."""
        self.offset = 0.0
        """Mean of the last seconds, as a share of full scale."""

    @property
    def value(self) -> int | None:
        """The constant value; None while the signal moves."""
        return self._value

    def observe(self, item: Block | Gap) -> None:
        if isinstance(item, Gap):
            self._reset()
            return
        if len(item.samples) == 0:
            return
        self._average(item)
        first = int(item.samples[0])
        # Two samples nearly always tell that the signal moves; all are compared only when those are equal.
        if first != item.samples[-1] or not (item.samples == first).all():
            self._reset()
            return
        if self._since is None or first != self._value:
            self._value, self._since = first, item.start
        self.constant_s = seconds(item.stop - self._since)

    def _average(self, block: Block) -> None:
        weight = -np.expm1(-seconds(len(block.samples)) / AVERAGED_OVER_S)
        clipped = float(np.mean((block.samples >= FULL_SCALE) | (block.samples <= -FULL_SCALE)))
        self.clipped_share += weight * (clipped - self.clipped_share)
        self.offset += weight * (float(np.mean(block.samples)) / FULL_SCALE - self.offset)

    def _reset(self) -> None:
        self._value = self._since = None
        self.constant_s = 0.0
