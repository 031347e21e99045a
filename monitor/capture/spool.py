"""A recording that comes through a pipe is kept in a file without a name until it has been heard."""

from __future__ import annotations

import os
import select
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from monitor.errors import AudioFileError

STANDARD_INPUT: Final = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
WRITER_WITHIN_S: Final = 10.0
LOOK_EVERY_S: Final = 0.1
CHUNK_BYTES: Final = 1 << 20
SPARED_BYTES: Final = 256 << 20
"""Of the disk: a pipe must not fill it."""


def open_recording(
    path: Path,
    *,
    takes_pipe: bool = True,
    writer_within_s: float = WRITER_WITHIN_S,
    spared_bytes: int = SPARED_BYTES,
) -> int:
    """A descriptor of the recording, in which any place can be read; the caller closes it.

    ``-`` is standard input. No header can be trusted before the end has been seen, so a pipe is read
    to its end first. Nobody may open it to write for ``writer_within_s`` at most. Raises AudioFileError.
    """
    try:
        # A socket cannot be opened by its name, and a FIFO without a writer must not block here.
        is_stdin = str(path) in STANDARD_INPUT
        descriptor = os.dup(0) if is_stdin else os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AudioFileError(f"{path} cannot be read: {error.strerror}.") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    try:
        if stat.S_ISDIR(mode):
            raise AudioFileError(f"{path} cannot be read: Is a directory.")
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            what = "a terminal" if os.isatty(descriptor) else "a device"
            raise AudioFileError(f"{path} is {what} and holds no recording.", "Name a file or a pipe.")
        if not takes_pipe:
            raise AudioFileError(
                f"{path} is a pipe, and in real time only raw PCM can be heard from one.",
                "Pipe raw PCM into --stdin, or save the recording as a file.",
            )
        within_s = None if is_stdin else writer_within_s  # who started us holds the other end of stdin
        return _spooled(path, _sent(path, descriptor, within_s), spared_bytes)
    finally:
        os.close(descriptor)


def _spooled(path: Path, sent: Iterable[bytes], spared_bytes: int) -> int:
    try:
        with tempfile.TemporaryFile(dir=_folder()) as file:
            for data in sent:
                file.write(data)
                room = os.fstatvfs(file.fileno())
                if room.f_bavail * room.f_frsize < spared_bytes:
                    raise AudioFileError(
                        f"{path} sends more than there is room to keep while it is read.",
                        "Save it as a file, or let TMPDIR name a folder with more room.",
                    )
            file.flush()
            return os.dup(file.fileno())
    except OSError as error:
        raise AudioFileError(
            f"{path} cannot be kept while it is read: {error.strerror}.", "Save it as a file first."
        ) from error


def _folder() -> str | None:
    """Where there is room: /tmp is often memory. $TMPDIR comes first."""
    roomy = "/var/tmp"  # noqa: S108 - the file has no name there
    return None if "TMPDIR" in os.environ or not os.access(roomy, os.W_OK) else roomy


def _sent(path: Path, pipe: int, writer_within_s: float | None) -> Iterator[bytes]:
    """What is written to the pipe, until its last writer has closed it. None: a writer is there."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    has_writer = writer_within_s is None
    deadline_s = time.monotonic() + (writer_within_s or 0.0)
    while True:
        happened = poll.poll(None if has_writer else 1000 * LOOK_EVERY_S)
        try:
            data = os.read(pipe, CHUNK_BYTES)
        except BlockingIOError:  # somebody has opened the other end
            has_writer = True
            continue
        if data:
            has_writer = True
            yield data
        elif happened or has_writer:
            return
        elif time.monotonic() >= deadline_s:
            raise AudioFileError(
                f"{path} is a pipe, and for {writer_within_s:g} s nobody has opened it to write.",
                "Start the program that fills it first.",
            )
