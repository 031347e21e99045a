"""Find the crying in recordings: WAV, FLAC, Ogg (Vorbis, Opus) and MP3 of any rate, length and channels.

Folders are searched for such files; what is hidden in them is left out. What cannot be read, as a whole or in
part, is reported, and the rest goes on.
Exit code 0: all was heard; 1: not all; 2: nothing.

formats:
  table   for people (the default)
  jsonl   a line of JSON an episode: file, onset_s, detected_s, offset_s, score, cause; of a damaged recording
          also fault and damaged_s, and if it has no episode, one line in which the others are null
  labels  an Audacity label track; for several recordings name a folder with --output

--output never replaces a recording or a file that is read, and replaces other files that scan has not written
only with --force. The file appears when all is done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from monitor.cli.options import add_config_options, load
from monitor.cli.recordings import complain, recordings
from monitor.cli.scan_formats import FORMATS, Writer, results_writer
from monitor.cli.scanner import Scanned, ScanRequest, scan_recording
from monitor.log import configure_logging
from monitor.service.app import detector_settings

Progress = Callable[[float], None]
"""Is told how many recordings are done; 1.5 is one and a half."""

SOME_UNREADABLE: Final = 1
NONE_READABLE: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a recording, a folder, or - for standard input"
    )
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument("--jobs", type=_count, default=1, metavar="N", help="recordings read at a time (1)")
    parser.add_argument("--channel", type=_channel, metavar="N", help="channel to listen to, the first is 0")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to stdout")
    parser.add_argument("--force", action="store_true", help="let --output replace a file that is not ours")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> int:
    loaded = load(arguments)
    config = loaded.config
    channel = config.source.channel if arguments.channel is None else arguments.channel
    settings = detector_settings(config.detect)
    if settings.model_form == "auto":
        # Two scans of one recording have to agree, whatever else the machine does.
        settings = replace(settings, model_form="int8")
    request = ScanRequest(settings, config.detect.artifacts, channel)
    complaints: list[str] = []

    def report(sentence: str) -> None:
        complaints.append(sentence)
        complain(sentence)

    files = recordings(arguments.paths, report)
    others = [] if loaded.path is None else [loaded.path]
    with ExitStack() as stack:
        write = stack.enter_context(
            results_writer(arguments.format, arguments.output, files, others=others, force=arguments.force)
        )
        progress = stack.enter_context(_progress(len(files)))
        results = scan_all(files, request, arguments.jobs, progress)
        n_read, n_faulty = _write_all(results, write)
    if n_read == 0:
        return NONE_READABLE
    return SOME_UNREADABLE if n_faulty or n_read < len(files) or complaints else 0


def _write_all(results: Iterable[Scanned], write: Writer) -> tuple[int, int]:
    """Write what was read and say what was not; how many were read, and how many of them not as a whole."""
    n_read = n_faulty = 0
    for result in results:
        if result.problem:
            complain(result.problem)
            continue
        n_read += 1
        if result.fault:
            n_faulty += 1
            complain(result.fault, "warning")
        write(result)
    return n_read, n_faulty


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
        waiting = [
            None if _is_ours_alone(file) else pool.submit(scan_recording, file, request) for file in files
        ]
        for index, (file, result) in enumerate(zip(files, waiting, strict=True)):
            yield scan_recording(file, request) if result is None else result.result()
            progress(index + 1)


def _is_ours_alone(file: Path) -> bool:
    """Whether no other process can open it: a pipe that this process was given."""
    return str(file) == "-" or file.is_relative_to("/dev") or file.is_relative_to("/proc")


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
