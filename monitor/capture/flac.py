"""FLAC: the count of samples in the header is 0 after a kill, and that of the first of joined files."""

from __future__ import annotations

from typing import Final

from monitor.capture.byte_view import FileBytes, Piece, Span
from monitor.capture.links import Link

MARKERS: Final = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""The start of a stream and of its first block, which alone is never a part of audio by chance."""

COUNT_FIELD: Final = Span(21, 26)
"""The 36 bits that count the samples, and 4 others."""


def flac_link(file: FileBytes, start: int) -> Link:
    """The stream that begins at ``start``, up to the next one or to the end of the file."""
    stop = min(_next_marker(file, start + 4), file.size)
    count, field = without_count(file.at(start + COUNT_FIELD.start, len(COUNT_FIELD)))
    pieces: tuple[Piece, ...] = (
        Span(start, start + COUNT_FIELD.start),
        field,
        Span(start + COUNT_FIELD.stop, stop),
    )
    return Link(start, stop, pieces, claimed_frames=count)


def without_count(field: bytes) -> tuple[int | None, bytes]:
    """The count of samples that a header claims, and the field without it: the decoder goes on to the end."""
    count = int.from_bytes(field, "big") & 0xF_FFFF_FFFF
    return count or None, bytes((field[0] & 0xF0,)) + bytes(len(field) - 1) if field else b""


def _next_marker(file: FileBytes, start: int) -> int:
    found = [place for marker in MARKERS if (place := file.find(marker, start)) >= 0]
    return min(found, default=file.size)
