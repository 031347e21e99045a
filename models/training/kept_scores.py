"""Arrays that take long to compute, kept on disk under the hash of what they were computed from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def kept(folder: Path | None, version: str, sources: Sequence[Path], make: Callable[[], Arrays]) -> Arrays:
    """The arrays that ``make`` gives, from ``folder`` if they are there; without a folder made anew.

    ``version`` names the computation; ``sources`` are the files that it reads.
    """
    if folder is None:
        return make()
    key = hashlib.sha256("\n".join([version, *map(_file_hash, sources)]).encode()).hexdigest()
    path = folder / f"scores-{key[:24]}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f"{path.stem}.{os.getpid()}.part.npz"
        np.savez(unfinished, **make())  # type: ignore[arg-type]
        unfinished.replace(path)
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


@cache
def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
