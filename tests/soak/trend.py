"""Whether something grows: the slope of a series of measurements, and how sure one can be of it.

Least squares gives the slope. Memory now is memory a moment ago and a little, so neighbours are no
independent measurements, and the usual formula would claim far too much. The interval is that of a moving-
block bootstrap (Kuensch 1989): runs of residuals a tenth of the series long, drawn with replacement, are
laid upon the line, and of the slopes of 2000 such series the 2.5th and the 97.5th percentile are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

RESAMPLED = 2000
BLOCKS = 10
FEWEST = 20


@dataclass(frozen=True, slots=True)
class Slope:
    """Units of y in a unit of x, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_flat(self) -> bool:
        """Whether no growth can be told from the noise."""
        return self.low <= 0.0

    @override
    def __str__(self) -> str:
        return f"{self.value:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def slope(x: Sequence[float], y: Sequence[float], seed: int = 1) -> Slope:
    """The slope of ``y`` over ``x``, of which there are at least :data:`FEWEST`."""
    if len(x) < FEWEST:
        raise ValueError(f"{len(x)} measurements say nothing: take at least {FEWEST}.")
    at, values = np.asarray(x, float), np.asarray(y, float)
    centred = at - at.mean()
    value = _slopes(centred, values[None])[0]
    line = values.mean() + value * centred
    residuals = values - line
    rng = np.random.default_rng(seed)
    length = -(-len(at) // BLOCKS)
    starts = rng.integers(0, len(at) - length + 1, (RESAMPLED, BLOCKS))
    drawn = residuals[(starts[:, :, None] + np.arange(length)).reshape(RESAMPLED, -1)[:, : len(at)]]
    low, high = np.percentile(_slopes(centred, line + drawn), [2.5, 97.5])
    return Slope(float(value), float(low), float(high))


def _slopes(centred: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values @ centred / (centred @ centred)
