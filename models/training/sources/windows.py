"""giulbia's recordings: published as windows of 5 s with a step of 1 s, here put together again.

Its author recorded 9 s at a time and cut them into windows, numbered through. Two windows belong to one
stretch when the second begins with what the first has 1 s later. The numbering of the stretches and
their cutting were inferred from the catalogue's names and lengths (``<recording> seg<n> +<offset>s``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training.sources.fetch import SourceError
from monitor.types import SAMPLE_RATE_HZ

STEP: Final = SAMPLE_RATE_HZ
SAME: Final = 0.98
"""Correlation of the overlap from which two windows are neighbours; between strangers it is near 0."""


def stitch(parts: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Stretches of float32 (n,), 16 kHz, from windows in the order of their numbers."""
    stretches: list[list[NDArray[np.float32]]] = []
    last: NDArray[np.float32] | None = None
    for part in parts:
        if last is not None and _continues(last, part):
            stretches[-1].append(part[-STEP:])
        else:
            stretches.append([part])
        last = part
    return [np.concatenate(pieces) for pieces in stretches]


def _continues(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    n = min(len(first), len(second)) - STEP
    a, b = first[STEP : STEP + n].astype(np.float64), second[:n].astype(np.float64)
    power = np.sqrt((a @ a) * (b @ b))
    return n > 0 and power > 0 and float(a @ b) / power > SAME


def piece(
    orig: str, duration_s: float, segments_of: Callable[[str], list[NDArray[np.float32]]]
) -> NDArray[np.float32]:
    """The clip that ``orig`` names. Raises SourceError when the stretches do not come out as they should."""
    match = re.fullmatch(r"(.+) seg(\d+) \+(\d+)s", orig)
    if match is None:
        raise SourceError(f"{orig!r} names no stretch of a recording.")
    segments = segments_of(match[1])
    number, start = int(match[2]), int(match[3]) * SAMPLE_RATE_HZ
    stop = start + round(duration_s * SAMPLE_RATE_HZ)
    if number >= len(segments) or len(segments[number]) < stop - SAMPLE_RATE_HZ // 100:
        raise SourceError(f"the windows of {match[1]!r} do not join to the {duration_s:g} s of {orig!r}.")
    return segments[number][start:stop]
