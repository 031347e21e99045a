"""From a line of the catalogue to its samples: find the files, decode, cut and join as the source asks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training.sources import sound, windows
from models.training.sources.catalogue import Entry
from models.training.sources.fetch import SourceError
from models.training.sources.origins import Origin
from monitor.types import SAMPLE_RATE_HZ

MOST_WORDS: Final = 6
BETWEEN_WORDS_S: Final = 0.1


class Finder:
    """The audio of one source: files by the end of their path below some folders."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._files = {
            path.relative_to(root).as_posix(): path
            for root in roots
            for path in sorted(root.rglob("*"))
            if path.is_file() and ".git" not in path.relative_to(root).parts
        }
        self._stitched: dict[str, list[NDArray[np.float32]]] = {}

    def one(self, name: str, ending: str, folder: str) -> Path:
        """The file ``name`` + ``ending`` (a regular expression), in ``folder`` or anywhere else.

        Raises SourceError when there is none, or when several differ.
        """
        pattern = re.compile(re.escape(name) + ending)
        found = self._matching(re.compile(re.escape(f"{folder}/{name}" if folder else name) + ending))
        if not found:
            found = self._matching(re.compile(f"(?:.*/)?{pattern.pattern}"))
        if not found:
            raise SourceError(f"no file {name!r}{f' in {folder}' if folder else ''}.")
        if any(other.read_bytes() != found[0].read_bytes() for other in found[1:]):
            raise SourceError(f"{name!r} is not one file but {len(found)}: {', '.join(map(str, found[:3]))}.")
        return found[0]

    def _matching(self, pattern: re.Pattern[str]) -> list[Path]:
        return [path for name, path in self._files.items() if pattern.fullmatch(name)]

    def words_of(self, speaker: str) -> list[Path]:
        """The words of a speech_commands speaker, sorted by path."""
        return self._matching(re.compile(rf"(?:.*/)?{re.escape(speaker)}_nohash_\d+\.wav"))

    def segments_of(self, recording: str) -> list[NDArray[np.float32]]:
        """Stretches of a recording that is there as overlapping windows ``<recording>_<number>.wav``."""
        if recording not in self._stitched:
            # The first window of one recording lies in another folder, so the name alone counts.
            name = re.escape(Path(recording).name)
            numbered = {
                int(match[1]): path
                for key, path in self._files.items()
                if (match := re.fullmatch(rf"(?:.*/)?{name}_(\d+)\.wav", key))
            }
            if not numbered:
                raise SourceError(f"no windows of {recording!r}.")
            in_order = [sound.decode(numbered[number]) for number in sorted(numbered)]
            self._stitched[recording] = windows.stitch(in_order)
        return self._stitched[recording]


def clip(entry: Entry, origin: Origin, finder: Finder) -> NDArray[np.float32]:
    """The clip's samples, float32 (n,), 16 kHz. Raises SourceError or AudioFileError."""
    if origin.way == "parts":
        voice = entry.orig.split()[0]
        paths = [
            finder.one(f"{voice}/{part}", origin.ending, origin.folder)
            for part in entry.parts.split("+")
            if part
        ]
        if not paths:
            raise SourceError(f"the catalogue names no parts of {entry.orig!r}.")
        return _excerpt(np.concatenate([sound.decode(path) for path in paths]), origin)
    if origin.way == "words":
        return _words(finder.words_of(entry.orig.split()[-1]), entry.orig)
    if origin.way == "windows":
        return windows.piece(entry.orig, float(entry.duration_s), finder.segments_of)
    return _excerpt(sound.decode(finder.one(entry.orig, origin.ending, origin.folder)), origin)


def _excerpt(samples: NDArray[np.float32], origin: Origin) -> NDArray[np.float32]:
    start = round(origin.start_s * SAMPLE_RATE_HZ)
    stop = None if origin.longest_s is None else start + round(origin.longest_s * SAMPLE_RATE_HZ)
    if start >= len(samples):
        raise SourceError(f"the recording ends before {origin.start_s:g} s.")
    return samples[start:stop]


def _words(paths: Sequence[Path], what: str) -> NDArray[np.float32]:
    if not paths:
        raise SourceError(f"no {what}.")
    silence = np.zeros(round(BETWEEN_WORDS_S * SAMPLE_RATE_HZ), np.float32)
    return np.concatenate([part for path in paths[:MOST_WORDS] for part in (sound.decode(path), silence)])
