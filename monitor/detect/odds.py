"""Between probabilities and logits, the one definition for scores of single hops."""

from __future__ import annotations

from math import exp, log
from typing import Final

LEAST: Final = 1e-6
"""Probabilities are kept this far from 0 and 1, so that their logits are finite."""


def sigmoid(logit: float) -> float:
    """The probability, 0-1."""
    # exp of a large positive argument overflows; clipping at 40 changes nothing that a float shows.
    return 1.0 / (1.0 + exp(-min(max(logit, -40.0), 40.0)))


def logit(probability: float) -> float:
    """The logit; finite at 0 and 1 too."""
    kept = min(max(probability, LEAST), 1.0 - LEAST)
    return log(kept / (1.0 - kept))
