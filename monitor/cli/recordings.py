"""The recordings that a user means, in folders too; what is passed over there is reported."""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from monitor.errors import ConfigError
from monitor.files import identity
from monitor.outputs import AUDIO_SUFFIXES, OTHER_AUDIO_SUFFIXES
from monitor.words import count, plain

Report = Callable[[str], object]
"""Takes one sentence about recordings that will not be heard."""


def complain(sentence: str, kind: str = "error") -> None:
    """Print a sentence on stderr, on one line whatever a file in it is called."""
    print(f"cradlewatch: {kind}: {plain(sentence, None)}", file=sys.stderr)


def recordings(paths: Sequence[Path], report: Report = complain) -> list[Path]:
    """Find the files to read, each once, in order.

    Folders are searched, linked ones too, but not what is hidden in them (a Mac's ``._night.wav``).
    ``report`` hears of folders that cannot be searched, and of recordings in a format that cannot be read.
    Raises ConfigError where there is nothing to read at all.
    """
    found: list[Path] = []
    is_closed = False
    for path in paths:
        if not _is_folder(path):
            found.append(path)  # what is wrong with it, if anything, its reader says best
            continue
        folder = _Folder(path)
        found += folder.recordings
        is_closed = is_closed or folder.is_closed
        for sentence in folder.passed_over():
            report(sentence)
    if not found:
        shown = ", ".join(plain(str(path)) for path in paths)
        if is_closed:  # nobody knows what they hold
            raise ConfigError(f"No recording was found in {shown}.", "Name a folder that you may read.")
        folders = f"The folder {shown} holds" if len(paths) == 1 else f"The folders {shown} hold"
        raise ConfigError(
            f"{folders} no recordings that can be read ({', '.join(sorted(AUDIO_SUFFIXES))}).",
            "Name another.",
        )
    return list(dict.fromkeys(found))


class _Folder:
    """A folder, searched."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closed: list[OSError] = []
        self._unreadable: Counter[str] = Counter()
        self._entered = {identity(path)}
        self.recordings = sorted(self._search())

    @property
    def is_closed(self) -> bool:
        """Whether it, or a folder in it, cannot be searched."""
        return bool(self._closed)

    def passed_over(self) -> Iterator[str]:
        """One sentence for everything that will not be heard."""
        for error in self._closed:
            folder = plain(os.fsdecode(error.filename or self._path))
            yield f"The folder {folder} cannot be searched: {error.strerror}. Check the access rights."
        if self._unreadable:
            kinds = ", ".join(f"{number} {suffix}" for suffix, number in sorted(self._unreadable.items()))
            total = self._unreadable.total()
            suffix = min(self._unreadable)
            passed_over = f"{count(total, 'recording')} in {plain(str(self._path))} passed over"
            yield (
                f"{passed_over}, in a format that cannot be read ({kinds}): convert, for example with "
                f"`ffmpeg -i night{suffix} night.flac`."
            )
        if not self.recordings and not self._closed and not self._unreadable:
            yield f"The folder {plain(str(self._path))} holds no recordings."

    def _search(self) -> Iterator[Path]:
        for folder, inside, files in os.walk(self._path, onerror=self._closed.append, followlinks=True):
            # Folders before links to them: what is reached both ways keeps its own name.
            inside.sort(key=lambda name: (Path(folder, name).is_symlink(), name))
            inside[:] = [name for name in inside if self._enter(Path(folder, name))]
            for name in files:
                path = Path(folder, name)
                if name.startswith("."):
                    continue
                if _has(path, AUDIO_SUFFIXES):
                    yield path
                elif _has(path, OTHER_AUDIO_SUFFIXES):
                    self._unreadable[path.suffix.lower()] += 1

    def _enter(self, folder: Path) -> bool:
        """Whether to search ``folder``: not if hidden, and not twice, for links may form a circle."""
        if folder.name.startswith("."):
            return False
        seen = identity(folder)
        if seen is None:
            return True  # walking into it reports why
        new = seen not in self._entered
        self._entered.add(seen)
        return new


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # out of reach: it is reported as a file that cannot be read, and the rest goes on


def _has(path: Path, suffixes: frozenset[str]) -> bool:
    """Whether it has one of ``suffixes`` and may be a file; a link to nowhere may, for its reader says so."""
    if path.suffix.lower() not in suffixes:
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True
