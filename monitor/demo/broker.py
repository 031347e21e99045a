"""A real MQTT broker on loopback for the demonstration.

Mosquitto where it is installed, because that is what homes run and it speaks MQTT 5; otherwise amqtt,
which comes with the package. Either is a child process in a group of its own: it has its own
interpreter and event loop, and stopping it cannot hang us.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal

from monitor.errors import MonitorError

HOST: Final = "127.0.0.1"
ATTEMPTS: Final = 3
"""Another program may take the free port between our look and the broker's bind."""

Kind = Literal["mosquitto", "amqtt"]

# MQTT 3.1.1, section 3.1: CONNECT, 60 s keep-alive, clean session, client "probe"; answered by CONNACK.
_CONNECT: Final = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05probe"
_CONNACK_ACCEPTED: Final = b"\x20\x02\x00\x00"
_DISCONNECT: Final = b"\xe0\x00"


class BrokerError(MonitorError):
    """The embedded broker did not come up."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where an embedded broker is, what it is, and the best MQTT version that it speaks."""

    host: str
    port: int
    software: str
    protocol: Literal["5", "3.1.1"]


class EmbeddedBroker:
    """Starts a broker on entering, stops it on leaving. Enter it from a thread that stays alive.

    ``kind`` forces one of the two. Raises BrokerError when no broker answers within ``timeout_s``.
    """

    def __init__(self, kind: Kind | None = None, timeout_s: float = 15.0) -> None:
        self._kind: Kind = kind or ("amqtt" if find_mosquitto() is None else "mosquitto")
        self._timeout_s = timeout_s
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> BrokerAddress:
        self._folder = tempfile.TemporaryDirectory(prefix="cradlewatch-broker-")
        try:
            return self._start(Path(self._folder.name))
        except BaseException:
            self._stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _start(self, folder: Path) -> BrokerAddress:
        for _ in range(ATTEMPTS):
            port = _free_port()
            if self._kind == "mosquitto":
                address = BrokerAddress(HOST, port, "Mosquitto", "5")
                command = _mosquitto(folder, port)
            else:
                address = BrokerAddress(HOST, port, "amqtt", "3.1.1")
                command = [sys.executable, "-m", "monitor.demo.small_broker", str(port)]
            with (folder / "broker.log").open("ab") as output:
                self._process = _leashed(command, output.fileno())
            if self._answers(port):
                return address
            self._kill()
        said = (folder / "broker.log").read_text(encoding="utf-8", errors="replace").strip()
        last = said.splitlines()[-1] if said else "it said nothing"
        raise BrokerError(
            f"The embedded broker ({self._kind}) does not answer on {HOST}: {last}.",
            "Name a broker of your own with --broker HOST:PORT.",
        )

    def _answers(self, port: int) -> bool:
        """Wait for a CONNACK, for the process to end, or for the time to be up."""
        process = self._process
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline and process is not None and process.poll() is None:
            if accepts_mqtt(HOST, port):
                return True
            time.sleep(0.03)
        return False

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):  # killed below
                self._process.wait(3.0)
        self._kill()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _kill(self) -> None:
        """Kill what is left of the broker's process group and reap it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


def find_mosquitto() -> str | None:
    """The Mosquitto broker's path. Debian keeps it in /usr/sbin, which is not on a user's PATH."""
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    return shutil.which("mosquitto", path=places)


def accepts_mqtt(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether a broker accepts an anonymous MQTT connection there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(_CONNECT)
            answer = connection.recv(len(_CONNACK_ACCEPTED))
            connection.sendall(_DISCONNECT)
    except OSError:
        return False
    return answer == _CONNACK_ACCEPTED


def _mosquitto(folder: Path, port: int) -> list[str]:
    """Write Mosquitto's configuration; the command that runs it."""
    program = find_mosquitto()
    if program is None:
        raise BrokerError("Mosquitto is not installed.", "Install it, or use the embedded amqtt broker.")
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} {HOST}\nallow_anonymous true\npersistence false\n"
        "log_dest stderr\nlog_type error\nlog_type warning\n",
        encoding="ascii",
    )
    return [program, "-c", str(config)]


def _leashed(command: list[str], output: int) -> subprocess.Popen[bytes]:
    leash = [sys.executable, "-m", "monitor.demo.leash", str(os.getpid())]
    return subprocess.Popen(  # noqa: S603  our own interpreter, and paths that we chose
        leash + command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
