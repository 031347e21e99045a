"""The catalogue: what is known of each clip and cannot be computed from its samples.

Labels, groups, splits, licences and the name at the source, without any audio. It is what makes two
people's data the same data: :func:`from_manifest` took it from the manifest that the released models
were trained on, and the preparation turns it back into one.

Groups stand here as they are. The group of a donateacry upload is the app installation's identifier, a
pseudonym that the public corpus carries in every file name; ``orig`` needs that name to find the file,
so a hash in place of the group would hide nothing and only make the two harder to compare.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import soundfile

from models.training.corpus import MANIFEST_NAME, ROOMS_NAME
from monitor.errors import ConfigError

MODELS: Final = Path(__file__).resolve().parents[2]
CATALOGUE: Final = MODELS / "catalogue.csv.gz"
ROOMS_CATALOGUE: Final = MODELS / "rooms.csv"

MANIFEST_COLUMNS: Final = (
    "path", "source", "licence", "label", "cause", "group", "age", "sex", "split", "duration_s", "sha256",
    "cause5", "verified", "cause_conflict", "detail", "orig", "rms_db", "peak", "clip_frac", "rolloff_hz",
    "mn04_cry", "mn04_top", "near_dup_of", "train_ok",
)  # fmt: skip
MEASURED: Final = (
    "duration_s",
    "sha256",
    "rms_db",
    "peak",
    "clip_frac",
    "rolloff_hz",
    "mn04_cry",
    "mn04_top",
)
"""Columns of the manifest that are computed anew."""
ROOM_COLUMNS: Final = (
    "path", "source", "licence", "room_x_m", "room_y_m", "room_z_m", "rt60_s", "distance_m", "split",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One clip. All columns are text, as in the manifest."""

    path: str
    source: str
    label: str
    cause: str
    cause5: str
    group: str
    age: str
    sex: str
    split: str
    verified: str
    train_ok: str
    licence: str
    detail: str
    orig: str
    near_dup_of: str
    duration_s: str
    """As measured when the catalogue was made; with ``rms_db`` it tells whether the right clip was found."""
    rms_db: str
    parts: str = ""
    """Files that were joined, parted by ``+``; found by comparison with the sources."""

    def facts(self) -> dict[str, str]:
        """The manifest's columns that are not measured."""
        known = asdict(self) | {"cause_conflict": "0"}
        return {column: known[column] for column in MANIFEST_COLUMNS if column not in MEASURED}


COLUMNS: Final = tuple(field.name for field in fields(Entry))


def load(path: Path = CATALOGUE) -> list[Entry]:
    """All entries in the manifest's order. Raises ConfigError."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            return [Entry(**row) for row in csv.DictReader(file)]
    except (OSError, EOFError, TypeError) as error:
        raise ConfigError(
            f"catalogue {str(path)!r} cannot be read: {error}.", "Take it anew from the repository."
        ) from error


def save(entries: Iterable[Entry], path: Path = CATALOGUE) -> None:
    """Write the entries; equal entries give an equal file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in entries)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def from_manifest(manifest: Path, parts: Mapping[str, str]) -> list[Entry]:
    """The entries of a manifest; ``parts`` by path, since no manifest has them."""
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Entry(**{name: row[name] for name in COLUMNS if name != "parts"}, parts=parts.get(row["path"], ""))
        for row in rows
    ]


def load_rooms(path: Path = ROOMS_CATALOGUE) -> list[dict[str, str]]:
    """The lines of ``rooms.csv``: ``rir.csv`` and the length of what was recorded, in samples."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError(
            f"{str(path)!r} cannot be read: {error}.", "Take it anew from the repository."
        ) from error


def write_again(data: Path) -> int:
    """Take catalogue and rooms from the data folder ``data``; known ``parts`` are kept. Returns the count."""
    parts = {entry.path: entry.parts for entry in load()} if CATALOGUE.is_file() else {}
    entries = from_manifest(data / MANIFEST_NAME, parts)
    save(entries)
    with ROOMS_CATALOGUE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, (*ROOM_COLUMNS, "samples"), lineterminator="\n")
        writer.writeheader()
        for line in load_rooms(data / ROOMS_NAME):
            recorded = "" if line["rt60_s"] else str(soundfile.info(data / line["path"]).frames)
            writer.writerow(line | {"samples": recorded})
    return len(entries)
