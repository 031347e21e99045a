"""What the population lends to a baby of whom nothing is known: the room cries lie in, and base rates."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ManifestMismatchError, ModelError
from monitor.types import Cause

SCHEMA: Final = 1
_REMEDY: Final = "Install Cradlewatch anew, or make the file with models.training.personal_study."


@dataclass(frozen=True, eq=False)
class PersonalPrior:
    """Learnt from many babies; made by ``models.training.personal_study``.

    ``mean`` float64 (width,) and ``axes`` (width, k) take an embedding to k axes along which the cries of
    one baby and one cause have unit variance.
    """

    embedding: str
    """Names network and pooling; nothing learnt with one embedding is read with another."""
    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    base_rates: NDArray[np.float64]
    """Of the causes in the order of :class:`Cause`, all above 0."""
    radius: float
    """A sound further out than nearly all cries is drawn back to here, so that none says too much."""
    baby_variance: float
    cause_variance: float
    prior_count: float
    """How many confirmed cries the base rates weigh as much as."""
    sound_weight: float
    """Power of the sound's density; 0 leaves the counts of confirmed causes."""

    def __post_init__(self) -> None:
        n_causes = len(Cause) - 1
        if self.mean.ndim != 1 or self.axes.ndim != 2 or len(self.axes) != len(self.mean):
            raise ModelError(
                f"a personal prior's mean {self.mean.shape} and axes {self.axes.shape} do not fit.", _REMEDY
            )
        if self.base_rates.shape != (n_causes,):
            raise ModelError(f"a personal prior has {self.base_rates.shape} base rates.", _REMEDY)
        arrays = (self.mean, self.axes, self.base_rates)
        if not all(np.isfinite(a).all() for a in arrays) or not (self.base_rates > 0.0).all():
            raise ModelError("a personal prior holds numbers that are none.", _REMEDY)
        if not np.isclose(self.base_rates.sum(), 1.0):
            raise ModelError("a personal prior's base rates do not sum to 1.", _REMEDY)
        for name in ("radius", "cause_variance", "prior_count"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ModelError(f"a personal prior's {name} is {getattr(self, name)}, not above 0.", _REMEDY)
        for name in ("baby_variance", "sound_weight"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ModelError(f"a personal prior's {name} is {getattr(self, name)}, below 0.", _REMEDY)

    def place(self, embedding: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Where a cry lies, float64 (k,). Raises ModelError for another width and for NaN or infinity."""
        if embedding.shape != self.mean.shape:
            raise ManifestMismatchError(
                f"an embedding of shape {embedding.shape} came, {self.embedding} has {self.mean.shape}.",
                "Network and personal.npz must be of one release.",
            )
        if not np.isfinite(embedding).all():
            raise ModelError("an embedding with NaN or infinity came.", "The network is damaged.")
        z: NDArray[np.float64] = (embedding.astype(np.float64) - self.mean) @ self.axes
        distance = float(np.linalg.norm(z))
        return z if distance <= self.radius else z * (self.radius / distance)

    def identity(self) -> str:
        """A hash of all that decides where a cry lies; base rates and weights may change beneath a file."""
        digest = hashlib.sha256(self.embedding.encode())
        for part in (self.mean, self.axes, np.array(self.radius)):
            digest.update(np.ascontiguousarray(part, np.float64).tobytes())
        return digest.hexdigest()[:32]

    def save(self, path: Path) -> None:
        """Write an npz. OSError where that fails: this is part of making a release."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(path, schema=SCHEMA, **values)

    @classmethod
    def load(cls, path: Path, embedding: str) -> PersonalPrior:
        """The prior in ``path``, for the network that gives ``embedding``.

        Raises ModelError for a file that is missing or damaged, ManifestMismatchError for one of another
        version or another embedding.
        """
        stored = _stored(path)
        schema = stored.pop("schema", None)
        if schema is None or schema.shape or schema != SCHEMA:
            raise ManifestMismatchError(f"{path} has schema {schema}, expected {SCHEMA}.", _REMEDY)
        if missing := sorted({field.name for field in fields(cls)} - set(stored)):
            raise ModelError(f"{path} lacks {', '.join(missing)}.", _REMEDY)
        own = str(stored["embedding"])
        if own != embedding:
            raise ManifestMismatchError(
                f"{path} was made for {own!r}, the network gives {embedding!r}.", _REMEDY
            )
        try:
            return cls(
                embedding=own,
                mean=stored["mean"].astype(np.float64),
                axes=stored["axes"].astype(np.float64),
                base_rates=stored["base_rates"].astype(np.float64),
                radius=float(stored["radius"]),
                baby_variance=float(stored["baby_variance"]),
                cause_variance=float(stored["cause_variance"]),
                prior_count=float(stored["prior_count"]),
                sound_weight=float(stored["sound_weight"]),
            )
        except (TypeError, ValueError) as error:
            raise ModelError(f"{path} is damaged: {error}.", _REMEDY) from error


def _stored(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # From memory: on a damaged file numpy would leave the file open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"personal prior {str(path)!r} cannot be read: {error}.", _REMEDY) from error
