"""What `cradlewatch scan` writes: table, JSON lines, Audacity label tracks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from monitor.cli.scanner import FoundEpisode, Scanned
from monitor.cli.table import print_table
from monitor.errors import ConfigError
from monitor.types import Cause, CauseEstimate

FORMATS: Final = ("table", "jsonl", "labels")
HEAD: Final = ("file", "onset", "offset", "length", "raised after", "score", "cause")

Writer = Callable[[Scanned], None]


@contextmanager
def results_writer(form: str, output: Path | None, files: Sequence[Path]) -> Iterator[Writer]:
    """What takes the results one by one. Raises ConfigError when ``output`` cannot take them."""
    if form == "labels" and (len(files) > 1 or (output is not None and os.path.isdir(output))):  # noqa: PTH112 - Path.is_dir raises where access is denied
        yield _LabelFolder(output, files).write
        return
    with _opened(output) as stream:
        if form == "jsonl":
            yield lambda result: _put(stream, jsonl(str(result.path), result.episodes))
        elif form == "labels":
            yield lambda result: _put(stream, labels(result.episodes))
        else:
            rows: list[list[str]] = []
            yield lambda result: rows.extend(row(str(result.path), episode) for episode in result.episodes)
            print_table(HEAD, rows, stream)


class _LabelFolder:
    """One label track a recording, named after it: tracks of several recordings cannot be one.

    Whatever is in the way is said before the first recording is read: it may be hours to the last.
    """

    def __init__(self, folder: Path | None, files: Sequence[Path]) -> None:
        if folder is None or not folder.is_dir():
            raise ConfigError(
                f"A label track belongs to one recording, and these are {len(files)}.",
                "Name an existing folder with --output.",
            )
        self._folder = folder
        tracks: dict[Path, Path] = {}
        for file in files:
            target = self._track(file)
            if target in tracks:
                raise ConfigError(
                    f"{file} and {tracks[target]} would both become {target}.",
                    "Scan them one after the other, into different folders.",
                )
            if os.path.lexists(target):
                raise ConfigError(
                    f"The label track {target} exists already and may hold somebody's work.",
                    "Move it away or name another folder with --output.",
                )
            tracks[target] = file

    def write(self, result: Scanned) -> None:
        with _opened(self._track(result.path), "x") as stream:
            _put(stream, labels(result.episodes))

    def _track(self, file: Path) -> Path:
        return self._folder / f"{file.stem}.txt"


def _put(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()  # whoever follows the output sees each recording when it is done


@contextmanager
def _opened(output: Path | None, mode: Literal["w", "x"] = "w") -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    try:
        # A file's name may be no UTF-8; its result is wanted all the same.
        stream = output.open(mode, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(
            f"--output {output} cannot be written: {error.strerror}.", "Name a file in an existing folder."
        ) from error
    with stream:
        yield stream


def jsonl(file: str, episodes: Iterable[FoundEpisode]) -> str:
    """One line an episode. ASCII alone, so that any name gets through any terminal and pipe."""
    return "".join(json.dumps(_as_json(file, episode)) + "\n" for episode in episodes)


def labels(episodes: Iterable[FoundEpisode]) -> str:
    """Start, end and label, separated by tabs, as Audacity imports them."""
    return "".join(
        f"{episode.onset_s:.6f}\t{episode.offset_s:.6f}\t{_label(episode)}\n" for episode in episodes
    )


def row(file: str, episode: FoundEpisode) -> list[str]:
    """The cells of a table."""
    return [
        file,
        clock_time(episode.onset_s),
        clock_time(episode.offset_s),
        f"{episode.offset_s - episode.onset_s:.1f} s",
        f"{episode.detected_s - episode.onset_s:.1f} s",
        f"{episode.score:.2f}",
        cause_text(episode.cause),
    ]


def clock_time(position_s: float) -> str:
    """Hours, minutes and seconds of a position.

    >>> clock_time(3723.456)
    '1:02:03.5'
    """
    tenths = round(position_s * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def cause_text(cause: CauseEstimate | None) -> str:
    """The cause in words; "unsure" when there is none to name."""
    if cause is None or cause.answer is Cause.UNSURE:
        return Cause.UNSURE.value
    return f"{cause.answer.value.replace('_', ' ')} {cause.probabilities[cause.answer]:.0%}"


def _as_json(file: str, episode: FoundEpisode) -> dict[str, Any]:
    return {
        "file": file,
        "onset_s": round(episode.onset_s, 3),
        "detected_s": round(episode.detected_s, 3),
        "offset_s": round(episode.offset_s, 3),
        "score": round(episode.score, 4),
        "cause": _cause_as_json(episode.cause),
    }


def _cause_as_json(cause: CauseEstimate | None) -> Any:
    if cause is None or cause.answer is Cause.UNSURE:
        return Cause.UNSURE.value
    return {
        "answer": cause.answer.value,
        "probabilities": {name.value: round(p, 4) for name, p in cause.probabilities.items()},
    }


def _label(episode: FoundEpisode) -> str:
    return f"cry {episode.score:.2f} {cause_text(episode.cause)}"
