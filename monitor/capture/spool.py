"""A recording that comes through a pipe is kept in a file without a name until it has been heard."""

from __future__ import annotations

import os
import select
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from monitor.errors import AudioFileError

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

    No header can be trusted before the end has been seen, so a pipe is read to its end first. Nobody
    may write to it for ``writer_within_s`` at most. Raises AudioFileError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AudioFileError(f"{path} cannot be read: {error.strerror}.") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    try:
        if stat.S_ISDIR(mode):
            raise AudioFileError(f"{path} cannot be read: Is a directory.")
        if not stat.S_ISFIFO(mode):
            what = "a terminal" if os.isatty(descriptor) else "a device"
            raise AudioFileError(f"{path} is {what} and holds no recording.", "Name a file or a pipe.")
        if not takes_pipe:
            raise AudioFileError(
                f"{path} is a pipe, and in real time only raw PCM can be heard from one.",
                "Pipe raw PCM into --stdin, or save the recording as a file.",
            )
        return _spooled(path, descriptor, writer_within_s, spared_bytes)
    finally:
        os.close(descriptor)


def _spooled(path: Path, pipe: int, writer_within_s: float, spared_bytes: int) -> int:
    try:
        with tempfile.TemporaryFile(dir=_folder()) as file:
            for data in _sent(path, pipe, writer_within_s):
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


def _sent(path: Path, pipe: int, writer_within_s: float) -> Iterator[bytes]:
    """What is written to the pipe, until its last writer has closed it."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    deadline_s = time.monotonic() + writer_within_s
    has_writer = False
    while True:
        try:
            data = os.read(pipe, CHUNK_BYTES)
        except BlockingIOError:
            has_writer = True
            poll.poll()
            continue
        if data:
            has_writer = True
            yield data
        elif has_writer or poll.poll(1000 * LOOK_EVERY_S) == [(pipe, select.POLLHUP)]:
            return  # the latter is a writer that has come and gone without a byte
        elif time.monotonic() >= deadline_s:
            raise AudioFileError(
                f"{path} is a pipe, and for {writer_within_s:g} s nobody has opened it to write.",
                "Start the program that fills it first.",
            )
