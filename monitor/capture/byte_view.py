"""Bytes of an open file, whole or in pieces, as the file that a decoder is to see."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

SEARCH_BYTES: Final = 1 << 20
AHEAD_BYTES: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the file from ``start`` up to ``stop``."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)


Piece = Span | bytes
"""Bytes of the file, or bytes of ours that stand in for wrong ones."""


class FileBytes:
    """What an open file holds. Every read names its place, so no position is shared."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self.failure = ""
        """Why bytes that are there could not be read, as the system says it."""

    def at(self, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``; fewer at the end of the file and where the disk fails."""
        buffer = bytearray(max(0, min(length, self.size - start)))
        return bytes(buffer[: self.read_into(memoryview(buffer), start)])

    def read_into(self, buffer: memoryview, start: int) -> int:
        """Fill ``buffer`` from ``start``; how many bytes there were."""
        filled = 0
        while filled < len(buffer):
            try:
                n_read = os.preadv(self._descriptor, [buffer[filled:]], start + filled)
            except OSError as error:
                # A decoder written in C asks: an exception would not get through it.
                self.failure = error.strerror or str(error)
                break
            if n_read == 0:
                break
            filled += n_read
        return filled

    def number(self, start: int, length: int, order: str) -> int:
        """An unsigned number; ``order``: "little" or "big"."""
        return int.from_bytes(self.at(start, length), "little" if order == "little" else "big")

    def find(self, pattern: bytes, start: int, stop: int | None = None) -> int:
        """Where ``pattern`` begins, wholly within ``start`` to ``stop``; -1 when it does not occur."""
        end = self.size if stop is None else min(stop, self.size)
        while start + len(pattern) <= end:
            chunk = self.at(start, min(SEARCH_BYTES, end - start))
            found = chunk.find(pattern)
            if found >= 0:
                return start + found
            if len(chunk) < len(pattern):
                return -1
            start += len(chunk) - len(pattern) + 1
        return -1


class ByteView:
    """Pieces, one after the other, as a file that can be read and sought in. No position moves another's."""

    def __init__(self, file: FileBytes, pieces: Sequence[Piece]) -> None:
        self._file = file
        self._pieces = [piece for piece in pieces if len(piece)]
        self._stops = list(accumulate(len(piece) for piece in self._pieces))
        self.size = self._stops[-1] if self._stops else 0
        self._position = 0
        self._ahead = b""
        self._ahead_start = 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer``; how many bytes there were."""
        target = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(target) and self._position < self.size:
            n_read = self._read_piece(target[filled:])
            if n_read == 0:
                break
            filled += n_read
            self._position += n_read
        return filled

    def read(self, length: int) -> bytes:
        buffer = bytearray(max(0, min(length, self.size - self._position)))
        return bytes(buffer[: self.readinto(buffer)])

    def _read_piece(self, target: memoryview) -> int:
        index = bisect_right(self._stops, self._position)
        piece = self._pieces[index]
        inside = self._position - (self._stops[index] - len(piece))
        length = min(len(target), len(piece) - inside)
        if isinstance(piece, Span):
            return self._read_span(target[:length], piece.start + inside)
        target[:length] = piece[inside : inside + length]
        return length

    def _read_span(self, target: memoryview, start: int) -> int:
        """As the file does; a decoder that asks for a few bytes at a time gets them from memory."""
        length = len(target)
        if length >= AHEAD_BYTES:
            return self._file.read_into(target, start)
        inside = start - self._ahead_start
        if not 0 <= inside <= len(self._ahead) - length:
            self._ahead, self._ahead_start, inside = self._file.at(start, AHEAD_BYTES), start, 0
        found = self._ahead[inside : inside + length]
        target[: len(found)] = found
        return len(found)
