"""glibc's heap in a process that runs for months: few arenas, and what was freed goes back to the system.

glibc gives each thread an arena of its own, and an arena keeps what was freed in it. A clip, a report or a
burst of alerts would leave its high-water mark for good. Elsewhere (musl) both calls do nothing.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Final

ARENAS: Final = 2
TRIM_EVERY_S: Final = 10.0
"""Half a millisecond each on a PC with the daemon's heap."""

MAPPED_FROM: Final = 128 * 1024
"""Bytes. Bigger blocks are mapped by themselves and go back at once: glibc starts with this limit too, but
raises it whenever such a block is freed, up to 32 MB."""

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""Of glibc's malloc.h."""

_libc: Final = ctypes.CDLL(None)


def share_arenas() -> None:
    """Let all threads share two arenas without big blocks. Call it before the first thread is made."""
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)


class HeapTrimmer:
    """Called often, it gives freed memory back now and then."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._trim: Callable[[int], int] | None = getattr(_libc, "malloc_trim", None)
        self._monotonic_s = monotonic_s
        self._at_s = monotonic_s() + TRIM_EVERY_S

    def __call__(self) -> None:
        if self._trim is not None and self._monotonic_s() >= self._at_s:
            self._at_s = self._monotonic_s() + TRIM_EVERY_S
            self._trim(0)
