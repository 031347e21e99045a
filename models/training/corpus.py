"""The public audio: where it lies, what each clip is, and its samples.

The folder's layout is that of ``manifest.csv`` and ``rir.csv`` (see models/README.md). Splits belong to
the manifest: nothing here moves a clip from one to another.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from monitor.errors import AudioFileError, ConfigError
from monitor.types import SAMPLE_RATE_HZ

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")

DATA_VARIABLE: Final = "CRADLEWATCH_DATA"
PRETRAINED_VARIABLE: Final = "CRADLEWATCH_PRETRAINED"
MANIFEST_NAME: Final = "manifest.csv"
ROOMS_NAME: Final = "rir.csv"

CACHE_LAYOUT: Final = "1"
"""Part of the cache's key: raise it when the decoding below changes."""
DECODERS: Final = 2
"""Threads that decode while the cache is written; libsndfile releases the GIL."""


def data_root(option: Path | None = None) -> Path:
    """Folder of the audio data: ``option``, else $CRADLEWATCH_DATA, else ``../shared/data``.

    Raises ConfigError when there is none or when it holds no manifest.
    """
    root = _root(option, DATA_VARIABLE, "--data", "data")
    if not (root / MANIFEST_NAME).is_file():
        raise ConfigError(
            f"data folder {str(root)!r} holds no {MANIFEST_NAME}.",
            f"Point --data or {DATA_VARIABLE} at the prepared audio data (models/README.md).",
        )
    return root


def pretrained_root(option: Path | None = None) -> Path:
    """Folder of the pre-trained models: ``option``, else $CRADLEWATCH_PRETRAINED, else a sibling.

    The sibling is ``../shared/pretrained``. Raises ConfigError when there is none.
    """
    return _root(option, PRETRAINED_VARIABLE, "--pretrained", "pretrained")


def _root(option: Path | None, variable: str, flag: str, sibling: str) -> Path:
    if option is not None:
        chosen, origin = option, flag
    elif os.environ.get(variable):
        chosen, origin = Path(os.environ[variable]), variable
    else:
        chosen, origin = Path(__file__).resolve().parents[3] / "shared" / sibling, "the default"
    if not chosen.is_dir():
        raise ConfigError(
            f"{sibling} folder {str(chosen)!r} (from {origin}) does not exist.",
            f"Give it with {flag} or {variable}; models/README.md says how to prepare it.",
        )
    return chosen


@dataclass(frozen=True, slots=True)
class Clip:
    """One line of the manifest; its README says what the columns mean."""

    path: str
    """Relative to the data folder; unique, so it names the clip."""
    source: str
    label: str
    cause5: str | None
    group: str
    split: Split
    duration_s: float
    train_ok: bool
    """The licence allows to train weights that ship."""
    verified: bool
    mn04_cry: float | None
    """A machine's opinion that this is a baby's cry; not a label."""
    rolloff_hz: float
    rms_db: float
    age: str | None
    sex: str | None
    near_dup_of: str | None
    licence: str


def load_manifest(root: Path) -> list[Clip]:
    """All clips in the manifest's order. Raises ConfigError for a manifest that does not fit."""
    path = root / MANIFEST_NAME
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    clips = [_clip(row, path, line) for line, row in enumerate(rows, start=2)]
    assert_splits_disjoint(clips)
    return clips


def _clip(row: Mapping[str, str], path: Path, line: int) -> Clip:
    try:
        return Clip(
            path=row["path"],
            source=row["source"],
            label=row["label"],
            cause5=row["cause5"] or None,
            group=row["group"],
            split=SPLITS[SPLITS.index(row["split"])],
            duration_s=float(row["duration_s"]),
            train_ok=row["train_ok"] == "1",
            verified=row["verified"] == "1",
            mn04_cry=float(row["mn04_cry"]) if row["mn04_cry"] else None,
            rolloff_hz=float(row["rolloff_hz"]),
            rms_db=float(row["rms_db"]),
            age=row["age"] or None,
            sex=row["sex"] or None,
            near_dup_of=row["near_dup_of"] or None,
            licence=row["licence"],
        )
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{path}, line {line}: {error!r} is not what a manifest holds.",
            f"Prepare the data anew; splits are {', '.join(SPLITS)}.",
        ) from error


def assert_splits_disjoint(clips: Iterable[Clip]) -> None:
    """Raise ConfigError if a group (a phone, a speaker, a recording) is in two splits."""
    home: dict[str, Split] = {}
    for clip in clips:
        first = home.setdefault(clip.group, clip.split)
        if first != clip.split:
            raise ConfigError(
                f"group {clip.group!r} is in the splits {first} and {clip.split}.",
                "A group belongs to one split, or every measured figure is too good.",
            )


def manifest_hash(root: Path) -> str:
    """SHA-256 of the manifest; it names the data, since the manifest holds each file's own hash."""
    return hashlib.sha256((root / MANIFEST_NAME).read_bytes()).hexdigest()


def read_audio(path: Path) -> NDArray[np.float32]:
    """A whole recording as float32 (n,), mono (mean of the channels), 16 kHz.

    Raises AudioFileError.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioFileError(f"{path} cannot be read: {error}.", "Prepare the data anew.") from error
    mono = samples.mean(axis=1, dtype=np.float32)
    return mono if rate == SAMPLE_RATE_HZ else soxr.resample(mono, rate, SAMPLE_RATE_HZ)


class AudioStore:
    """The samples of every clip, decoded once into one int16 file under ``cache_dir``.

    The file carries the manifest's hash in its name, so changed data never meets an old cache.
    Processes may share it: it is written under a name of its own and put in place in one step.
    """

    def __init__(self, root: Path, cache_dir: Path) -> None:
        self._root = root
        self._cache_dir = cache_dir
        key = f"{manifest_hash(root)[:16]}-{CACHE_LAYOUT}"
        self._samples_path = cache_dir / f"audio-{key}.int16"
        self._index_path = cache_dir / f"audio-{key}.json"
        if not (self._index_path.is_file() and self._samples_path.is_file()):
            cache_dir.mkdir(parents=True, exist_ok=True)
            self._write()
        self._index: dict[str, tuple[int, int]] = {
            path: (start, stop) for path, (start, stop) in json.loads(self._index_path.read_text()).items()
        }
        self._samples = np.memmap(self._samples_path, dtype=np.int16, mode="r")

    def __reduce__(self) -> tuple[type[AudioStore], tuple[Path, Path]]:
        """To a worker process goes the way to the file, not its 650 MB."""
        return AudioStore, (self._root, self._cache_dir)

    def samples(self, clip: Clip) -> NDArray[np.float32]:
        """The clip as float32 (n,) in [-1, 1]; a copy, free to be written to."""
        start, stop = self._index[clip.path]
        return self._samples[start:stop].astype(np.float32) / np.float32(32768.0)

    def length(self, clip: Clip) -> int:
        """Number of samples of the clip."""
        start, stop = self._index[clip.path]
        return stop - start

    def _write(self) -> None:
        clips = load_manifest(self._root)
        unfinished = self._samples_path.with_suffix(f".{os.getpid()}")
        index: dict[str, tuple[int, int]] = {}
        position = 0
        with unfinished.open("wb") as file, ThreadPoolExecutor(DECODERS) as pool:
            for clip, samples in zip(clips, pool.map(self._decode, clips), strict=True):
                file.write(samples.tobytes())
                index[clip.path] = (position, position + len(samples))
                position += len(samples)
        unfinished.replace(self._samples_path)
        unfinished.write_text(json.dumps(index))
        # Last: whoever sees the index sees whole samples.
        unfinished.replace(self._index_path)

    def _decode(self, clip: Clip) -> NDArray[np.int16]:
        samples = read_audio(self._root / clip.path)
        return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


@dataclass(frozen=True, slots=True)
class Room:
    """A room's impulse response: float32 (n,), 16 kHz, as recorded or computed."""

    name: str
    rt60_s: float | None
    distance_m: float | None
    response: NDArray[np.float32]


def load_rooms(root: Path, split: Split) -> list[Room]:
    """The rooms of one split, in the order of ``rir.csv``."""
    with (root / ROOMS_NAME).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return [
        Room(
            name=Path(row["path"]).stem,
            rt60_s=float(row["rt60_s"]) if row["rt60_s"] else None,
            distance_m=float(row["distance_m"]) if row["distance_m"] else None,
            response=read_audio(root / row["path"]),
        )
        for row in rows
    ]


def load_rirs(root: Path, split: Split) -> list[NDArray[np.float32]]:
    """The impulse responses of one split, 16 kHz."""
    return [room.response for room in load_rooms(root, split)]
