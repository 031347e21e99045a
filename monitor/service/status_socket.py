"""How the monitor is, for whoever asks on this machine: one JSON object a connection, on a local socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from monitor.bounded_server import BoundedServer, Bounds
from monitor.errors import MonitorError
from monitor.files import identity

log = structlog.get_logger(__name__)

NAME: Final = "status.sock"
ANSWER_WITHIN_S: Final = 5.0
LONGEST_ANSWER: Final = 1 << 20
_BOUNDS: Final = Bounds(connections=8, within_s=ANSWER_WITHIN_S, longest=0)


class StatusServer:
    """Answers from a thread of its own, so that it can also say that main is stuck."""

    def __init__(self, path: Path, report: Callable[[], Mapping[str, Any]]) -> None:
        self._path = path
        self._report = report
        self._bound: tuple[int, int] | None = None
        self._server = BoundedServer("status", self._bind, self._answer, _BOUNDS, closed=self._unlink)
        self._running = False

    def start(self) -> str:
        """Begin to answer; why that is not possible, or an empty text. Nothing else depends on it."""
        self._server.start()
        self._running = True
        return self.fault

    @property
    def fault(self) -> str:
        """Why nobody can ask, in a sentence; empty while everybody can. Any thread."""
        reason = self._server.fault
        return (
            f"`cradlewatch status` will find nothing: {self._path} cannot be made: {reason}."
            if reason
            else ""
        )

    def check_path(self) -> None:
        """Listen again in case that somebody deleted the socket. May wait for a disk."""
        if self._running and not self._server.fault and identity(self._path) != self._bound:
            log.warning("status.socket_lost", path=str(self._path))
            self._server.reopen()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Answer no more."""
        if self._running:
            self._running = False
            self._server.stop(timeout_s)

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):  # the disk may have become read-only
            self._path.unlink(missing_ok=True)

    def _bind(self) -> socket.socket:
        self._path.unlink(missing_ok=True)  # of a process that was killed: the folder is locked by us
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Before there is a path: cries and their times are nobody else's business.
            os.fchmod(listening.fileno(), 0o600)
            listening.bind(str(self._path))
            listening.listen(128)
            self._bound = identity(self._path)
        except OSError:
            listening.close()
            raise
        return listening

    def _answer(self, _heard: bytes, _peer: str) -> bytes:
        return json.dumps(dict(self._report()), allow_nan=False).encode()


def _all_of(connection: socket.socket) -> bytes:
    answer = bytearray()
    while part := connection.recv(65536):
        answer += part
        if len(answer) > LONGEST_ANSWER:
            raise ValueError("it says more than any service has to say")
    return bytes(answer)


def _within(seconds: float) -> bytes:
    """A ``struct timeval``."""
    return struct.pack("@ll", int(seconds), 0)


def ask(path: Path) -> dict[str, Any]:
    """The answer of the service behind ``path``. Raises MonitorError when there is none."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            # The kernel's own limit: with Python's, connect() fails at once while others wait in front.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _within(ANSWER_WITHIN_S))
            connection.connect(str(path))
            connection.settimeout(ANSWER_WITHIN_S)
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
