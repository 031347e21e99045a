"""A process in which inputs are tried: it may crash, hang or eat memory, and its parent sees it."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import random
import resource
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, MutableSequence
from pathlib import Path
from typing import Any

from monitor.log import configure_logging
from tests.fuzz.target import Target, check_clear, check_no_secret

INDEX, BEGAN, REJECTED, ACCEPTED, SLOWEST, SLOWEST_INDEX, BUSY = range(7)
"""Places in the numbers that worker and parent share."""
SPARED_FILES = 16
_MEGABYTE = 1 << 20


class Complaints:
    """What nobody was there to catch: errors of threads and of finalisers."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def of_thread(self, arguments: threading.ExceptHookArgs) -> None:
        name = "?" if arguments.thread is None else arguments.thread.name
        shown = traceback.format_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        self.texts.append(f"in thread {name}:\n{''.join(shown)}")

    def unraisable(self, arguments: Any) -> None:
        shown = traceback.format_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        self.texts.append(f"unraisable:\n{''.join(shown)}")


def work(
    kind: type[Target], folder: Path, start: int, stop: int, seed: int, numbers: MutableSequence[float]
) -> None:
    """Try the inputs from ``start`` to ``stop``; findings become files in ``folder``/findings."""
    findings = folder / "findings"
    with (folder / f"stacks-{os.getpid()}").open("w") as stacks, warnings.catch_warnings():
        faulthandler.enable(stacks)
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", ResourceWarning)
        log = io.StringIO()
        configure_logging("info", "logfmt", stream=log)
        complaints = Complaints()
        threading.excepthook, sys.unraisablehook = complaints.of_thread, complaints.unraisable
        room = folder / f"room-{os.getpid()}"
        room.mkdir()
        target = kind(room)
        files = _open_files()
        with _memory_bounded(target.memory_mb):
            for index in range(start, stop):
                _try(target, index, seed, numbers, findings, log, complaints)
        if _open_files() > files + SPARED_FILES:
            report = f"files left open: {files} at the begin, {_open_files()} at the end"
            _write(findings, target.name, stop - 1, None, report)
        target.close()
    # Threads of libraries, waiting for something that never comes, shall not keep the process.
    sys.stdout.flush()
    os._exit(0)


def _try(
    target: Target,
    index: int,
    seed: int,
    numbers: MutableSequence[float],
    findings: Path,
    log: io.StringIO,
    complaints: Complaints,
) -> None:
    rng = random.Random(f"{seed} {target.name} {index}")
    given = target.make(rng)
    began_s = time.monotonic()
    numbers[INDEX], numbers[BEGAN] = index, began_s
    problem = ""
    try:
        sentence = target.feed(given)
        check_clear(sentence)
        check_no_secret(log.getvalue())
        numbers[REJECTED if sentence else ACCEPTED] += 1
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
        problem = "".join(traceback.format_exception(error))
    took_s = time.monotonic() - began_s
    numbers[BEGAN] = 0.0
    numbers[BUSY] += took_s
    if took_s > numbers[SLOWEST]:
        numbers[SLOWEST], numbers[SLOWEST_INDEX] = took_s, index
    problem = "\n".join(filter(None, [problem, *complaints.texts]))
    complaints.texts.clear()
    log.seek(0)
    log.truncate()
    if problem:
        _write(findings, target.name, index, given, problem)


def _write(findings: Path, name: str, index: int, given: Any, problem: str) -> None:
    shown = repr(given)
    (findings / f"{name}-{index}.txt").write_text(
        f"{problem}\n--- input ---\n{shown[:200_000]}\n", errors="backslashreplace"
    )


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.contextmanager
def _memory_bounded(more_mb: int) -> Iterator[None]:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + more_mb * _MEGABYTE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
