"""One line of JSON a message, to a file or to standard output."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import sys
from pathlib import Path
from typing import Final

from typing_extensions import override

from monitor.errors import ConfigError, PermanentSinkError, RetryableSinkError, SinkError, SinkGoneError
from monitor.messages import AnyMessage
from monitor.outputs import HEAD_BYTES, refuse_loss
from monitor.sinks.base import Sink
from monitor.words import plain

_OF_THE_DISK: Final = frozenset(
    {
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.ESTALE,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
    }
)
"""What keeps a file from being opened now, and is not a mistake in its name."""


class JsonLinesSink(Sink):
    """Appends each message to ``path``, or writes it to standard output when that is None.

    A file that holds anything but messages is refused: appending would spoil a recording or a text.
    Every line is handed to the operating system before ``handle`` returns, so a reader sees it at
    once and a killed process loses none. A line is whole or absent: what a full disk cut off is
    taken back.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._target = "standard output" if path is None else str(path)
        self._file: io.FileIO | None = None
        self._fault = ""

    @property
    @override
    def name(self) -> str:
        return "jsonl"

    @override
    def open(self) -> None:
        """Raises PermanentSinkError for a target that could never be written to.

        A disk that is read-only, full or broken now is not a reason to stay deaf: it is tried again.
        """
        try:
            self._open()
        except ConfigError as error:
            raise PermanentSinkError(error.message, error.remedy) from error
        except OSError as error:
            if error.errno in _OF_THE_DISK:
                self._fault = str(self._translate(error))
                return
            raise PermanentSinkError(
                f"The event log {self._target} cannot be opened: {_reason(error)}.",
                "Choose a file in an existing folder that the service may write to.",
            ) from error

    def _open(self) -> None:
        if self._path is None:
            # A duplicate, so that close() leaves the process its standard output.
            self._file = io.FileIO(os.dup(sys.stdout.fileno()), "wb")
            return
        name = f"jsonl.path = {plain(str(self._path))}"
        refuse_loss(self._path, name, inputs=(), is_ours=is_event_log, force=None)
        self._file = io.FileIO(self._path, "ab", opener=_for_us_alone)

    @override
    def handle(self, message: AnyMessage) -> None:
        try:
            if self._file is None:
                self._open()
            assert self._file is not None
            _append(self._file, message.to_json().encode() + b"\n")
        except ConfigError as error:
            self._fault = str(error)
            raise PermanentSinkError(error.message, error.remedy) from error
        except OSError as error:
            failure = self._translate(error)
            self._fault = str(failure)
            raise failure from error
        self._fault = ""

    @override
    def tick(self) -> None:
        """Nothing to do between messages."""

    @override
    def fault(self) -> str:
        return self._fault

    @override
    def close(self, timeout_s: float) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _translate(self, error: OSError) -> SinkError:
        if isinstance(error, BrokenPipeError):
            # A named pipe may get another reader; the pipe that stdout is cannot.
            kind = SinkGoneError if self._path is None else PermanentSinkError
            return kind(f"Nobody reads {self._target} any more.", "Start the reader again, then the service.")
        return RetryableSinkError(
            f"The event log {self._target} cannot be written: {_reason(error)}.",
            "Make room on the disk or choose another file.",
        )


def is_event_log(head: bytes) -> bool:
    """Whether a file that begins with ``head`` holds messages.

    The first line may be cut off where somebody shortened the file, and a power cut may leave zeros. Nothing
    but zeros at the beginning of a large file is silence, in a recording.
    """
    lines = head.strip(b"\0").splitlines()[:2]
    if not lines:
        return len(head) < HEAD_BYTES
    return any(_is_message(line) for line in lines)


def _is_message(line: bytes) -> bool:
    try:
        fields = json.loads(line)
    except ValueError:
        return False
    return isinstance(fields, dict) and {"schema", "event_id", "device", "kind"} <= fields.keys()


def _for_us_alone(path: str, flags: int) -> int:
    # When a child cries and sleeps is nobody else's business. A file that is there keeps its mode: who wants
    # others to read it makes it before.
    return os.open(path, flags, 0o600)


def _append(file: io.FileIO, line: bytes) -> None:
    regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    whole = os.fstat(file.fileno()).st_size if regular else 0
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[os.write(file.fileno(), rest) :]
    except OSError:
        if regular and len(rest) < len(line):
            os.ftruncate(file.fileno(), whole)
        raise


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
