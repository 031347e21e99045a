"""Find the crying in recordings: WAV, FLAC, Ogg (Vorbis, Opus) and MP3 of any rate, length and channels.

Folders are searched for such files. A file that cannot be read is reported and the rest goes on.
Exit code 0: all were read; 1: some were; 2: none was.

formats:
  table   for people (the default)
  jsonl   a line of JSON an episode: file, onset_s, detected_s, offset_s, score, cause
  labels  an Audacity label track; for several recordings name a folder with --output
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from monitor.cli.options import add_config_options, load
from monitor.cli.scan_formats import FORMATS, results_writer
from monitor.cli.scanner import Scanned, ScanRequest, scan_recording
from monitor.errors import ConfigError
from monitor.log import configure_logging
from monitor.service.app import detector_settings

Progress = Callable[[float], None]
"""Is told how many recordings are done; 1.5 is one and a half."""

SUFFIXES: Final = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".w64", ".rf64"}
)
SOME_UNREADABLE: Final = 1
NONE_READABLE: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a recording or a folder")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument("--jobs", type=_count, default=1, metavar="N", help="recordings read at a time (1)")
    parser.add_argument("--channel", type=_channel, metavar="N", help="channel to listen to, the first is 0")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to stdout")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments).config
    channel = config.source.channel if arguments.channel is None else arguments.channel
    settings = detector_settings(config.detect)
    if settings.model_form == "auto":
        # Two scans of one recording have to agree, whatever else the machine does.
        settings = replace(settings, model_form="int8")
    request = ScanRequest(settings, config.detect.artifacts, channel)
    files = recordings(arguments.paths)
    unreadable = 0
    with ExitStack() as stack:
        write = stack.enter_context(results_writer(arguments.format, arguments.output, files))
        progress = stack.enter_context(_progress(len(files)))
        for result in scan_all(files, request, arguments.jobs, progress):
            if result.problem:
                unreadable += 1
                print(f"cradlewatch: error: {result.problem}", file=sys.stderr)
            else:
                write(result)
    if unreadable == len(files):
        return NONE_READABLE
    return SOME_UNREADABLE if unreadable else 0


def recordings(paths: Sequence[Path]) -> list[Path]:
    """The files to read, in order; folders are searched. Raises ConfigError for an empty folder."""
    found: list[Path] = []
    for path in paths:
        if not _is_folder(path):
            found.append(path)  # what is wrong with it, if anything, its reader says best
            continue
        inside = sorted(file for file in path.rglob("*") if _is_recording(file))
        if not inside:
            raise ConfigError(
                f"The folder {path} holds no recordings ({', '.join(SUFFIXES)}).", "Name another."
            )
        found += inside
    return list(dict.fromkeys(found))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # out of reach: it is reported as a file that cannot be read, and the rest goes on


def _is_recording(path: Path) -> bool:
    try:
        return path.suffix.lower() in SUFFIXES and path.is_file()
    except OSError:
        return True


def scan_all(files: Sequence[Path], request: ScanRequest, jobs: int, progress: Progress) -> Iterator[Scanned]:
    """The results in the order of ``files``, whatever the number of jobs."""
    if jobs == 1 or len(files) == 1:
        for index, file in enumerate(files):
            yield scan_recording(file, request, partial(_within, progress, index))
            progress(index + 1)
        return
    # Fresh interpreters: a fork would copy threads of the models' runtime that are not there any more.
    with ProcessPoolExecutor(
        min(jobs, len(files)), get_context("spawn"), configure_logging, ("warning",)
    ) as pool:
        for index, result in enumerate(pool.map(partial(scan_recording, request=request), files)):
            progress(index + 1)
            yield result


def _within(progress: Progress, index: int, share: float) -> None:
    progress(index + share)


@contextmanager
def _progress(n_files: int) -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    # Not above: only a terminal pays for rich.
    from monitor.cli.drawn import progress_bar  # noqa: PLC0415

    with progress_bar() as bar:
        task = bar.add_task("scanning", total=n_files)
        yield lambda done: bar.update(task, completed=done)


def _count(text: str) -> int:
    return _at_least(1, text)


def _channel(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
    return int(text)
