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


class Watchdog:
    """Tells the service manager how the service is. One thread calls it."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # the abstract name space is written with a leading NUL
            self._address = "\0" + self._address[1:]
        self._failed = False
        self.limit_s = _limit_s(environ)
        """The silence after which the service manager kills us; None when it does not watch."""

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """Feed the watchdog. Only for a caller that has seen audio and detector advance."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=Stopping")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                # Main calls this: a manager that does not read must not hold up the service.
                notify.setblocking(False)
                notify.sendto(text.encode(), self._address)
            self._failed = False
        except OSError as error:
            if not self._failed:  # once: it would come every second
                log.warning("watchdog.unreachable", error=str(error))
            self._failed = True


def _limit_s(environ: Mapping[str, str]) -> float | None:
    """$WATCHDOG_USEC in seconds, if it is meant for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / _MICROSECONDS if microseconds.isdigit() and int(microseconds) > 0 else None
