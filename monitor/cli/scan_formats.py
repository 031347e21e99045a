"""What `cradlewatch scan` writes: table, JSON lines, Audacity label tracks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

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
    if form == "labels" and len(files) > 1:
        yield _LabelFolder(output, len(files)).write
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
    """One label track a recording, named after it: tracks of several recordings cannot be one."""

    def __init__(self, folder: Path | None, n_files: int) -> None:
        if folder is None or not folder.is_dir():
            raise ConfigError(
                f"A label track belongs to one recording, and these are {n_files}.",
                "Name an existing folder with --output.",
            )
        self._folder = folder
        self._written: dict[Path, Path] = {}

    def write(self, result: Scanned) -> None:
        target = self._folder / f"{result.path.stem}.txt"
        if target in self._written:
            raise ConfigError(
                f"{result.path} and {self._written[target]} would both become {target}.",
                "Scan them one after the other.",
            )
        self._written[target] = result.path
        with _opened(target) as stream:
            _put(stream, labels(result.episodes))


def _put(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()  # whoever follows the output sees each recording when it is done


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    try:
        stream = output.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--output {output} cannot be written: {error.strerror}.", "Name a file in an existing folder."
        ) from error
    with stream:
        yield stream


def jsonl(file: str, episodes: Iterable[FoundEpisode]) -> str:
    """One line an episode."""
    return "".join(json.dumps(_as_json(file, episode), ensure_ascii=False) + "\n" for episode in episodes)


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
