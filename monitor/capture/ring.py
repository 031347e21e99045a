"""Single-producer single-consumer ring of int16 samples in any writable buffer.

The capture child writes, the service reads; the two share a memfd and nothing else. The producer
never waits and never fails: a reader that falls behind loses the oldest samples and is told how many.
Nothing here needs more than a corner of the standard library, so the child stays small.

Two counters guard the data. *claimed* is raised before a copy and *written* after it, so an overwrite
in progress is announced. With *written* alone a reader can take a block that is half new: we measured
corrupt blocks in four of five stress runs.
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import Final

MAGIC: Final = int.from_bytes(b"CRADLER\x01", "big")
"""Name and version of the layout."""

HEADER_BYTES: Final = 128
"""Sixteen 64-bit words; a multiple of the cache line, so samples do not share one with counters."""

_MAGIC, _CAPACITY, _RATE, _CLAIMED, _WRITTEN, _STAMP, _OVERFLOWS, _MOVED = range(8)


def ring_bytes(capacity: int) -> int:
    """Size of the buffer that a ring of ``capacity`` samples needs."""
    return HEADER_BYTES + 2 * capacity


class _Fence:
    """Keep stores (or loads) before a line from passing those behind it.

    Two processes share the memory, so no GIL orders them, and an ARM core may reorder plain stores.
    Releasing a lock and taking it again is a release followed by an acquire on the same word, which
    nothing passes in either direction. The other order (take, release) would let both sides slip in.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()  # held for good: nobody else knows this lock

    def __call__(self) -> None:
        self._lock.release()
        self._lock.acquire()


class _Words:
    """The header as 64-bit words. An item of a cast memoryview is stored in one aligned move."""

    __slots__ = ("samples", "words")

    def __init__(self, buffer: mmap.mmap | bytearray | memoryview) -> None:
        view = memoryview(buffer).cast("B")
        self.words = view[:HEADER_BYTES].cast("Q")
        self.samples = view[HEADER_BYTES:].cast("h")


class RingWriter:
    """The producer's end. One thread."""

    def __init__(self, buffer: mmap.mmap | bytearray | memoryview, *, rate_hz: int) -> None:
        parts = _Words(buffer)
        self._words = parts.words
        self._samples = parts.samples
        self._capacity = len(self._samples)
        self._fence = _Fence()
        for word in range(len(self._words)):
            self._words[word] = 0
        self._words[_CAPACITY] = self._capacity
        self._words[_RATE] = rate_hz
        self._fence()
        self._words[_MAGIC] = MAGIC  # last: a reader that sees it may trust the rest

    def write(self, samples: memoryview, stamp_ns: int) -> None:
        """Append ``samples`` (format "h", one-dimensional, any stride), taken at ``stamp_ns``.

        ``stamp_ns`` is CLOCK_MONOTONIC, which all processes of a machine share.
        """
        words, capacity = self._words, self._capacity
        start = words[_WRITTEN]
        stop = start + len(samples)
        words[_CLAIMED] = stop
        self._fence()  # the claim must be visible before the first sample changes
        kept = samples[-capacity:]
        first = (stop - len(kept)) % capacity
        until_end = min(len(kept), capacity - first)
        self._samples[first : first + until_end] = kept[:until_end]
        if until_end < len(kept):
            self._samples[: len(kept) - until_end] = kept[until_end:]
        words[_STAMP] = stamp_ns
        self._fence()  # all samples must be visible before they are offered
        words[_WRITTEN] = stop

    def note_channels(self, moved: int) -> None:
        """Note which channels of the device have ever moved, one bit each."""
        self._words[_MOVED] = moved

    def count_overflow(self) -> None:
        """Note that the device lost samples before it called us."""
        self._words[_OVERFLOWS] += 1


class RingReader:
    """The consumer's end. One thread; the counters may be read by any."""

    def __init__(self, buffer: mmap.mmap | bytearray | memoryview) -> None:
        parts = _Words(buffer)
        self._words = parts.words
        self._samples = parts.samples
        self._capacity = len(self._samples)
        # After a loss, leave the producer this much room, or the next block is overwritten as well.
        self._head_start = self._capacity // 4
        self._fence = _Fence()
        self.position = 0

    @property
    def ready(self) -> bool:
        """The producer has laid out its header. Raises ValueError if it is of another version."""
        if self._words[_MAGIC] == 0:
            return False
        if self._words[_MAGIC] != MAGIC or self._words[_CAPACITY] != self._capacity:
            raise ValueError("the capture child lays out its ring in another way: two versions are mixed")
        return True

    @property
    def rate_hz(self) -> int:
        return self._words[_RATE]

    @property
    def written(self) -> int:
        """Samples written since the ring began."""
        return self._words[_WRITTEN]

    @property
    def available(self) -> int:
        """Samples written and not yet read; more than the capacity after an overrun."""
        return self._words[_WRITTEN] - self.position

    @property
    def waiting_s(self) -> float:
        """Length of what is available; 0 before the producer has begun."""
        rate_hz = self._words[_RATE]
        return self.available / rate_hz if rate_hz else 0.0

    @property
    def stamp_ns(self) -> int:
        """CLOCK_MONOTONIC of the last write; 0 before the first."""
        return self._words[_STAMP]

    @property
    def overflows(self) -> int:
        return self._words[_OVERFLOWS]

    @property
    def moved(self) -> int:
        """Channels of the device that have ever moved, one bit each."""
        return self._words[_MOVED]

    def read(self, limit: int) -> tuple[int, bytes]:
        """Number of samples that are gone, then at most ``limit`` samples as bytes. Never waits."""
        written = self._words[_WRITTEN]
        self._fence()  # samples must be loaded after the counter that offers them
        lost = self._skip_overwritten(written)
        n_samples = min(written - self.position, limit)
        data = self._copy(n_samples)
        self._fence()  # the claim must be loaded after the last sample
        torn = self._skip_overwritten(written)
        if torn:
            return lost + torn, b""
        self.position += n_samples
        return lost, data

    def _skip_overwritten(self, written: int) -> int:
        oldest = self._words[_CLAIMED] - self._capacity
        if self.position >= oldest:
            return 0
        # A claim of more than the head start can lie beyond what is written: there is nothing left.
        resume = max(min(oldest + self._head_start, written), self.position)
        lost = resume - self.position
        self.position = resume
        return lost

    def _copy(self, n_samples: int) -> bytes:
        first = self.position % self._capacity
        until_end = self._capacity - first
        if n_samples <= until_end:
            return self._samples[first : first + n_samples].tobytes()
        return b"".join((self._samples[first:], self._samples[: n_samples - until_end]))


def create_shared_memory(capacity: int) -> tuple[int, mmap.mmap]:
    """Anonymous memory for a ring: a descriptor to pass to the child, and our own mapping of it.

    A memfd has no name, so nothing is left behind however the two processes end.
    """
    descriptor = os.memfd_create("cradlewatch-ring", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, ring_bytes(capacity))
        return descriptor, mmap.mmap(descriptor, ring_bytes(capacity))
    except OSError:
        os.close(descriptor)
        raise


def open_shared_memory(descriptor: int) -> mmap.mmap:
    """Map the memory behind ``descriptor``, as the child does."""
    return mmap.mmap(descriptor, os.fstat(descriptor).st_size)
