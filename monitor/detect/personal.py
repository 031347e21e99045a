"""One baby's own causes, learnt from the cries whose cause a parent has confirmed.

Across babies nobody has been shown to hear the cause of a cry, so the population lends no causes here, only
the room they lie in: where cries are, how far babies lie apart, how often each cause is named. In that
room the cries of one baby and one cause scatter with unit variance around a mean of their own, which is
the baby's own offset plus the cause's:

    z | cause ~ N(m_cause, 1)    m_cause = baby + own_cause    baby ~ N(0, b)    own_cause ~ N(0, c)

for each axis alike and apart, so counts and sums are all there is to remember, in whatever order cries come.
The offset matters: without it a baby's first confirmed cause would draw all its later cries to itself.

One thread calls it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.detect.personal_prior import PersonalPrior
from monitor.errors import ManifestMismatchError, ModelError
from monitor.files import write_atomically
from monitor.types import Cause

SCHEMA: Final = 1
KIND: Final = "cradlewatch-personal"
CAUSES: Final = tuple(cause for cause in Cause if cause is not Cause.UNSURE)
_FORGET: Final = "Delete the file to begin again, or restore it from a copy."
_OTHER_MODEL: Final = "It cannot be carried over: delete the file and confirm cries anew."


class PersonalHead:
    """What is known of one baby. Without a confirmed cry it answers the population's base rates exactly."""

    def __init__(self, prior: PersonalPrior) -> None:
        self._prior = prior
        self._counts = np.zeros(len(CAUSES))
        self._sums = np.zeros((len(CAUSES), prior.axes.shape[1]))

    @property
    def confirmed(self) -> Mapping[Cause, int]:
        """How many cries were confirmed, by cause."""
        return {cause: int(n) for cause, n in zip(CAUSES, self._counts, strict=True)}

    def forget(self) -> None:
        """As if no cry had ever been confirmed. A saved file is the caller's to delete."""
        self._counts[:] = 0.0
        self._sums[:] = 0.0

    def update(self, embedding: NDArray[np.floating[Any]], cause: Cause) -> None:
        """Learn from one cry whose cause a parent has confirmed.

        Raises ModelError for an embedding that is not the prior's, and for a cause that is none.
        """
        if cause is Cause.UNSURE:
            raise ModelError("'unsure' is no cause to learn.", f"Confirm one of {', '.join(CAUSES)}.")
        which = CAUSES.index(cause)
        self._sums[which] += self._prior.place(embedding)
        self._counts[which] += 1.0

    @property
    def rates(self) -> Mapping[Cause, float]:
        """What the confirmed causes alone say of the next one, without any sound: what sound has to beat."""
        return _named(self._rates())

    def predict(self, embedding: NDArray[np.floating[Any]]) -> Mapping[Cause, float]:
        """Probabilities of the causes of a cry, summing to 1. Raises ModelError as :meth:`update` does."""
        log_p = np.log(self._rates()) + self._prior.sound_weight * self.evidence(embedding)
        p = np.exp(log_p - log_p.max())
        return _named(p / p.sum())

    def evidence(self, embedding: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Log-density of the cry under each cause, float64 (n_causes,); equal while none is confirmed.

        Raises ModelError for an embedding that is not the prior's.
        """
        z = self._prior.place(embedding)
        n = len(CAUSES)
        between = np.full((n, n), self._prior.baby_variance) + self._prior.cause_variance * np.eye(n)
        precision = np.linalg.inv(between) + np.diag(self._counts)
        covariance = np.linalg.inv(precision)
        variance = 1.0 + covariance.diagonal()
        distance = np.square(z - covariance @ self._sums).sum(axis=1)
        density: NDArray[np.float64] = -0.5 * (distance / variance + len(z) * np.log(variance))
        return density

    def _rates(self) -> NDArray[np.float64]:
        pseudo = self._prior.prior_count * self._prior.base_rates
        rates: NDArray[np.float64] = (pseudo + self._counts) / (pseudo + self._counts).sum()
        return rates

    def save(self, path: Path) -> None:
        """Write what was learnt, in one step and readable by its owner alone. Raises ModelError."""
        state = {
            "kind": KIND,
            "schema": SCHEMA,
            "embedding": self._prior.embedding,
            "prior": self._prior.identity(),
            "confirmed": {str(cause): int(n) for cause, n in zip(CAUSES, self._counts, strict=True)},
            "sums": {str(cause): row.tolist() for cause, row in zip(CAUSES, self._sums, strict=True)},
        }
        try:
            write_atomically(path, json.dumps(state, indent=1, allow_nan=False))
        except OSError as error:
            raise ModelError(
                f"what was learnt of this baby cannot be written to {str(path)!r}: {error.strerror}.",
                "Make its folder writable, or free some space.",
            ) from error

    @classmethod
    def load(cls, path: Path, prior: PersonalPrior) -> PersonalHead:
        """What :meth:`save` wrote.

        Raises ModelError for a file that is missing or damaged, ManifestMismatchError for one of another
        kind, of a newer version or learnt with another model.
        """
        state = _read(path)
        _check_origin(state, path, prior)
        head = cls(prior)
        try:
            counts = [state["confirmed"][cause] for cause in CAUSES]
            sums = np.array([state["sums"][cause] for cause in CAUSES], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} is damaged: {error!r}.", _FORGET) from error
        if not all(type(n) is int and n >= 0 for n in counts):
            raise ModelError(f"{path} is damaged: confirmed cries are {counts}, not counts.", _FORGET)
        if sums.shape != head._sums.shape or not np.isfinite(sums).all():
            raise ModelError(f"{path} is damaged: its sums are not {head._sums.shape} numbers.", _FORGET)
        # No cry lies beyond the radius, so a sum of n cannot either; the last digits are rounding.
        reach = np.linalg.norm(sums, axis=1)
        if (reach > np.array(counts) * prior.radius * (1.0 + 1e-9)).any():
            raise ModelError(f"{path} is damaged: sums and counts contradict each other.", _FORGET)
        head._counts[:] = counts
        head._sums[:] = sums
        return head


def _named(p: NDArray[np.float64]) -> Mapping[Cause, float]:
    return {cause: float(value) for cause, value in zip(CAUSES, p, strict=True)}


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error.strerror}.", _FORGET) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {error}.", _FORGET) from error
    if not isinstance(state, dict) or state.get("kind") != KIND:
        raise ManifestMismatchError(f"{path} does not hold what was learnt of a baby.", "Name another file.")
    return state


def _check_origin(state: Mapping[str, Any], path: Path, prior: PersonalPrior) -> None:
    schema = state.get("schema")
    if type(schema) is not int or schema < 1:
        raise ModelError(f"{path} is damaged: its schema is {schema!r}.", _FORGET)
    if schema > SCHEMA:
        raise ManifestMismatchError(
            f"{path} was written by a newer Cradlewatch (schema {schema}, this one reads {SCHEMA}).",
            "Install that version again, or delete the file.",
        )
    if state.get("embedding") != prior.embedding:
        raise ManifestMismatchError(
            f"{path} was learnt with the embedding {state.get('embedding')!r}, not {prior.embedding!r}.",
            _OTHER_MODEL,
        )
    if state.get("prior") != prior.identity():
        raise ManifestMismatchError(f"{path} was learnt with another population's prior.", _OTHER_MODEL)
