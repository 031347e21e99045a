"""What `cradlewatch scan` writes: table, JSON lines, Audacity label tracks."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from monitor.cli.scanner import FoundEpisode, Scanned
from monitor.cli.table import print_table
from monitor.errors import ConfigError
from monitor.outputs import HEAD_BYTES, STANDARD_OUTPUT, Output
from monitor.types import SAMPLE_RATE_HZ, Cause, CauseEstimate
from monitor.words import plain

FORMATS: Final = ("table", "jsonl", "labels")
_FIELDS: Final = ("onset_s", "detected_s", "offset_s", "score", "cause")
HEAD: Final = ("file", "onset", "offset", "length", "raised after", "score", "cause")

Writer = Callable[[Scanned], None]

_LABEL: Final = re.compile(rb"(\d+\.\d{6})\t(\d+\.\d{6})\tcry [01]\.\d\d [a-z][a-z 0-9%]*")
_ROW: Final = re.compile(
    rb".*? {2}(?:damaged *(?:\d+\.\d s *)?"
    rb"|\d+:\d\d:\d\d\.\d +\d+:\d\d:\d\d\.\d +\d+\.\d s +\d+\.\d s +[01]\.\d\d +[a-z][a-z 0-9%]*)"
)
_WHOLE_SAMPLES: Final = 1e-6 * SAMPLE_RATE_HZ
"""How far a time may be from a whole sample, in samples: it is written with six digits."""


@contextmanager
def results_writer(
    form: str, output: Path | None, files: Sequence[Path], *, others: Sequence[Path] = (), force: bool = False
) -> Iterator[Writer]:
    """What takes the results one by one.

    On standard output they appear as they come; a file is written when the last one is there. ``others`` are
    further files that are read. Raises ConfigError when ``output`` cannot, or must not, take the results.
    """
    inputs = [*files, *others]
    if form == "labels" and (len(files) > 1 or (output is not None and os.path.isdir(output))):  # noqa: PTH112 - Path.is_dir raises where access is denied
        yield _LabelFolder(output, files, inputs, force=force).write
        return
    with _opened(output, inputs, force=force) as stream:
        if form == "jsonl":
            yield lambda result: _put(
                stream,
                jsonl(str(result.path), result.episodes, fault=result.fault, damaged_s=result.damaged_s),
            )
        elif form == "labels":
            yield lambda result: _put(stream, labels(result.episodes))
        else:
            rows: list[list[str]] = []
            yield lambda result: rows.extend(table_rows(result))
            print_table(HEAD, rows, stream)


class _LabelFolder:
    """One label track a recording, named after it: tracks of several recordings cannot be one.

    Whatever is in the way is said before the first recording is read: it may be hours to the last.
    """

    def __init__(
        self, folder: Path | None, files: Sequence[Path], inputs: Sequence[Path], *, force: bool
    ) -> None:
        if folder is None or not folder.is_dir():
            raise ConfigError(
                f"A label track belongs to one recording, and these are {len(files)}.",
                "Name an existing folder with --output.",
            )
        self._tracks: dict[Path, Output] = {}
        taken: dict[Path, Path] = {}
        for file in files:
            target = folder / f"{file.stem}.txt"
            if target in taken:
                raise ConfigError(
                    f"{_shown(file)} and {_shown(taken[target])} would both become {_shown(target)}.",
                    "Scan them one after the other, into different folders.",
                )
            taken[target] = file
            self._tracks[file] = _track(target, inputs, force=force)

    def write(self, result: Scanned) -> None:
        self._tracks[result.path].write(labels(result.episodes).encode())


def _track(target: Path, inputs: Sequence[Path], *, force: bool) -> Output:
    try:
        return Output(target, "--output", inputs=inputs, is_ours=is_ours, force=force)
    except ConfigError as error:
        if "--force" not in error.remedy:
            raise
        raise ConfigError(
            f"The label track {_shown(target)} exists already and may hold somebody's work.",
            "Move it away, name another folder with --output, or add --force to replace it.",
        ) from error


def _put(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()  # who follows the output sees each recording when it is done


@contextmanager
def _opened(output: Path | None, inputs: Sequence[Path], *, force: bool) -> Iterator[TextIO]:
    if output in {None, STANDARD_OUTPUT}:
        yield sys.stdout
        return
    target = Output(output, "--output", inputs=inputs, is_ours=is_ours, force=force)
    text = io.StringIO()
    yield text
    target.write(text.getvalue().encode(errors="backslashreplace"))


def is_ours(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a table, JSON lines or labels as they are written here."""
    lines = head.splitlines()[: -1 if len(head) >= HEAD_BYTES else None]
    if not lines:
        return False
    is_table = _is_head(lines[0]) and all(map(_is_row, lines[1:]))
    return is_table or all(map(_is_episode, lines)) or all(map(_is_label, lines))


def _is_head(line: bytes) -> bool:
    return line.split() == " ".join(HEAD).encode().split()


def _is_row(line: bytes) -> bool:
    return _ROW.fullmatch(line) is not None


def _is_episode(line: bytes) -> bool:
    try:
        fields = json.loads(line)
    except ValueError:
        return False
    return (
        isinstance(fields, dict) and {"file", "onset_s", "detected_s", "offset_s", "score"} <= fields.keys()
    )


def _is_label(line: bytes) -> bool:
    """Whether nobody has touched this label: what a hand has moved lies between two samples of ours."""
    found = _LABEL.fullmatch(line)
    positions = () if found is None else (float(found[1]) * SAMPLE_RATE_HZ, float(found[2]) * SAMPLE_RATE_HZ)
    return bool(positions) and all(abs(at - round(at)) <= _WHOLE_SAMPLES for at in positions)


def jsonl(file: str, episodes: Iterable[FoundEpisode], *, fault: str = "", damaged_s: float = 0.0) -> str:
    """One line an episode, at least one where there is a ``fault``.

    ASCII alone, so that any name gets through any terminal and pipe.
    """
    damage = {"fault": fault, "damaged_s": round(damaged_s, 3)} if fault else {}
    found = [_as_json(episode) for episode in episodes] or ([dict.fromkeys(_FIELDS)] if damage else [])
    return "".join(json.dumps({"file": file} | one | damage) + "\n" for one in found)


def labels(episodes: Iterable[FoundEpisode]) -> str:
    """Start, end and label, separated by tabs, as Audacity imports them."""
    return "".join(
        f"{episode.onset_s:.6f}\t{episode.offset_s:.6f}\t{_label(episode)}\n" for episode in episodes
    )


def table_rows(result: Scanned) -> list[list[str]]:
    """The rows of one recording; its damage, if any, comes last."""
    file = str(result.path)
    rows = [row(file, episode) for episode in result.episodes]
    if result.fault:
        lost = f"{result.damaged_s:.1f} s" if result.damaged_s else ""
        rows.append([file, "damaged", "", lost, "", "", ""])
    return rows


def row(file: str, episode: FoundEpisode) -> list[str]:
    """The cells of an episode in a table."""
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


def _as_json(episode: FoundEpisode) -> dict[str, Any]:
    return {
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


def _shown(path: Path) -> str:
    return plain(str(path))


def _label(episode: FoundEpisode) -> str:
    return f"cry {episode.score:.2f} {cause_text(episode.cause)}"
