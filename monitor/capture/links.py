"""What a file holds, one recording after the other: each link is one that a decoder can read alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.capture.byte_view import Piece, Span


@dataclass(frozen=True, slots=True)
class Link:
    """One recording within a file.

    ``pieces``: the file that the decoder is to see, with a header that is right.
    ``stop``: where the link ends in the file. ``start``: where it begins.
    """

    start: int
    stop: int
    pieces: Sequence[Piece]
    samples: Span | None = None
    """Where samples lie that need no decoder, should it not find them all."""
    byte_order: str = "LITTLE"
    """Of those samples."""
    claimed_bytes: int | None = None
    """How many bytes of samples the header claims; None where it does not know."""
    claimed_frames: int | None = None
    """How many frames the header claims; None where it does not know."""
    held_frames: int | None = None
    """How many frames are there, where counting them is easy."""
    lost_s: float = 0.0
    """Seconds of audio that are damaged before the link begins."""
    spans_s: float | None = None
    """Seconds from the end of the link before to the end of this one; what it does not hold is lost."""
    is_cut_off: bool = False
    """The link ends within a frame or a page: nobody knows how much is missing."""
