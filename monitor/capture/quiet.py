"""Libraries in C that write their warnings to stderr without being asked."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

_LOCK: Final = threading.Lock()
_inside = 0
_before: int | None = None


@cache
def _streams() -> tuple[ctypes.c_void_p, int | None] | None:
    """C's variable ``stderr``, and a stream that goes nowhere; None where C has no such variable."""
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    try:
        return ctypes.c_void_p.in_dll(library, "stderr"), library.fopen(b"/dev/null", b"w")
    except ValueError:
        return None


@contextmanager
def quiet() -> Iterator[None]:
    """Let what C code prints to its stream ``stderr`` go nowhere.

    libsndfile gives no way to the flag with which libmpg123 would be quiet. Descriptor 2 stays as it is:
    Python, faulthandler and every child write to it as before, in all threads.
    """
    global _inside, _before  # noqa: PLW0603 - the variable that it guards is the process's
    streams = _streams()
    if streams is None or streams[1] is None:
        yield
        return
    variable, nowhere = streams
    with _LOCK:
        if _inside == 0:
            _before, variable.value = variable.value, nowhere
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                variable.value = _before
