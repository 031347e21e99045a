"""How the monitor is, for whoever asks on this machine: one JSON object a connection, on a local socket."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from monitor.errors import MonitorError
from monitor.files import identity

log = structlog.get_logger(__name__)

NAME: Final = "status.sock"
ANSWER_WITHIN_S: Final = 5.0
LONGEST_ANSWER: Final = 1 << 20
SHORT_OF_FILES_S: Final = 0.5
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED})
"""What keeps one caller from being heard, and not the next one."""


class StatusServer:
    """Answers from a thread of its own, so that it can also say that main is stuck."""

    def __init__(self, path: Path, report: Callable[[], Mapping[str, Any]]) -> None:
        self._path = path
        self._report = report
        self._socket: socket.socket | None = None
        self._bound: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False

    def start(self) -> str:
        """Begin to answer; why that is not possible, or an empty text. Nothing else depends on it."""
        self._stopping = False
        try:
            self._path.unlink(missing_ok=True)  # of a process that was killed: the folder is locked by us
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                # Before there is a path: cries and their times are nobody else's business.
                os.fchmod(listening.fileno(), 0o600)
                listening.bind(str(self._path))
                listening.listen(4)
                self._bound = identity(self._path)
            except OSError:
                listening.close()
                raise
        except OSError as error:
            return f"`cradlewatch status` will find nothing: {self._path} cannot be made: {error}."
        self._socket = listening
        # Kept for the moment in which no other is left: just then somebody wants to know what is wrong.
        arguments = (listening, _spare())
        self._thread = threading.Thread(target=self._serve, args=arguments, name="status", daemon=True)
        self._thread.start()
        return ""

    def mend(self) -> None:
        """Listen anew in case that somebody deleted the socket. Not while ``start`` or ``stop`` runs."""
        if self._stopping or (self._socket is not None and identity(self._path) == self._bound):
            return
        log.warning("status.socket_lost", path=str(self._path))
        self.stop(unlink=False)
        fault = self.start()
        if fault:
            log.warning("status.socket_not_mended", fault=fault)

    def stop(self, timeout_s: float = 1.0, *, unlink: bool = True) -> None:
        """Answer no more."""
        self._stopping = True
        if self._socket is None or self._thread is None:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() would not
        self._thread.join(timeout_s)
        self._socket.close()
        self._socket = self._thread = None
        if unlink:
            with contextlib.suppress(OSError):  # the disk may have become read-only
                self._path.unlink(missing_ok=True)

    def _serve(self, listening: socket.socket, spare: int | None) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError as error:
                if error.errno not in _PASSING:
                    break
                if spare is None:
                    time.sleep(SHORT_OF_FILES_S)
                    spare = _spare()
                else:
                    os.close(spare)
                    spare = None
                continue
            with connection:
                connection.settimeout(ANSWER_WITHIN_S)
                with contextlib.suppress(OSError):  # whoever asked has gone: nothing is lost
                    connection.sendall(json.dumps(dict(self._report()), allow_nan=False).encode())
            spare = _spare() if spare is None else spare
        if spare is not None:
            os.close(spare)


def _spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _all_of(connection: socket.socket) -> bytes:
    answer = bytearray()
    while part := connection.recv(65536):
        answer += part
        if len(answer) > LONGEST_ANSWER:
            raise ValueError("it says more than any service has to say")
    return bytes(answer)


def ask(path: Path) -> dict[str, Any]:
    """The answer of the service behind ``path``. Raises MonitorError when there is none."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_WITHIN_S)
            connection.connect(str(path))
            answer = json.loads(_all_of(connection))
    except PermissionError as error:
        raise MonitorError(
            f"The service's status at {path} is not for you.", "Ask as its user, or with sudo."
        ) from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise MonitorError(
            f"No cradlewatch runs with {path.parent}.", "Start it, or name its --config."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise MonitorError(f"The service does not answer at {path}: {error}.", "Restart it.") from error
    if not isinstance(answer, dict):
        raise MonitorError(f"What answers at {path} is no cradlewatch.", "Restart the service.")
    return answer
