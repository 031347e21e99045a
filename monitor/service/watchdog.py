"""The service manager's socket: ready, alive, stopping.

The protocol is one datagram with lines of KEY=value (sd_notify(3)). Without $NOTIFY_SOCKET, outside
of systemd, nothing is sent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_MICROSECONDS: Final = 1_000_000
_STOP_MARGIN_S: Final = 5.0


class Watchdog:
    """Tells the service manager how the service is. One thread calls it."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # the abstract name space is written with a leading NUL
            self._address = "\0" + self._address[1:]
        self._failed = False
        self._socket: socket.socket | None = None
        self.limit_s = _limit_s(environ)
        """The silence after which the service manager kills us; None when it does not watch."""

    @property
    def supervised(self) -> bool:
        """Whether a service manager listens, which starts us again should we end."""
        return bool(self._address)

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog. Only for a caller that has seen audio and detector advance."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def stopping(self, within_s: float) -> None:
        """Say that the end takes up to ``within_s``: TimeoutStopSec= of the unit is the default's."""
        microseconds = round((within_s + _STOP_MARGIN_S) * _MICROSECONDS)
        self._send(f"STOPPING=1\nSTATUS=Stopping\nEXTEND_TIMEOUT_USEC={microseconds}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            self._opened().sendto(text.encode(), self._address)
            self._failed = False
        except OSError as error:
            if not self._failed:  # once: it would come every second
                log.warning("watchdog.unreachable", error=str(error))
            self._failed = True

    def _opened(self) -> socket.socket:
        # Kept open: a service that has run out of descriptors is still alive, and says why elsewhere.
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # Main calls this: a manager that does not read must not hold up the service.
            self._socket.setblocking(False)
        return self._socket


def _limit_s(environ: Mapping[str, str]) -> float | None:
    """$WATCHDOG_USEC in seconds, if it is meant for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / _MICROSECONDS if microseconds.isdigit() and int(microseconds) > 0 else None
