"""Which channels of a device or a file carry a sound: one side of a stereo microphone may be empty.

Needs nothing but the language itself: the capture child uses it too.
"""

from __future__ import annotations

from typing import Final

MOST: Final = 64
"""Channels that are looked at; as many as one word of the ring has bits."""


class ChannelWatch:
    """Remembers each channel that has ever moved; only those that have not are looked at."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._silent = list(range(min(channels, MOST)))
        self.moved = 0
        """One bit a channel, the lowest is channel 0."""

    def observe(self, frames: memoryview) -> None:
        """Take interleaved frames, one-dimensional, of any number type."""
        for channel in tuple(self._silent):
            column = frames[channel :: self._channels].tobytes()
            if column != column[: frames.itemsize] * (len(column) // frames.itemsize):
                self._silent.remove(channel)
                self.moved |= 1 << channel


def better_channel(moved: int, channel: int) -> int | None:
    """The first channel that has moved, where ``channel`` itself never has; else None."""
    if moved == 0 or moved >> channel & 1:
        return None
    return (moved & -moved).bit_length() - 1
