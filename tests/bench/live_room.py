"""The real parts around the real service: a fed microphone, Mosquitto, a subscriber, the sd_notify socket."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.broker import Mosquitto, Received, Subscriber
from tests.cli.programs import Program
from tests.virtual_microphone import VirtualMicrophone

BASE: Final = "cradlewatch/live"
READY_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running ``cradlewatch run`` and how long it took from its start to READY."""

    program: Program
    start_s: float


@contextlib.contextmanager
def listening(microphone: VirtualMicrophone, broker: Mosquitto) -> Iterator[Service]:
    """The service in a process of its own, from READY to a clean end."""
    arguments = ("run", "--mqtt-host", broker.host, "--mqtt-port", str(broker.port))
    # A UNIX socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="notify-") as folder:
        path = f"{folder}/socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(READY_WITHIN_S)
            environment = {"CRADLEWATCH_DEVICE__ID": "live", "NOTIFY_SOCKET": path}
            begun_s = time.monotonic()
            with Program(*arguments, **microphone.environment, **environment) as program:
                try:
                    while b"READY=1" not in notify.recv(4096):
                        pass
                except TimeoutError as error:
                    raise AssertionError(f"not listening: {program.err}") from error
                yield Service(program, time.monotonic() - begun_s)
                program.signal(signal.SIGTERM)
                assert program.ended() == 0, program.err


def start_times_s(microphone: VirtualMicrophone, broker: Mosquitto, count: int) -> list[float]:
    """From the start of the process to READY, ``count`` times; one more before warms the caches."""
    found = []
    for _ in range(count + 1):
        with listening(microphone, broker) as service:
            found.append(service.start_s)
    return found[1:]


class Hub:
    """A subscriber that knows the topics of the service."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def wait_until_hearing(self) -> None:
        """Wait for the first audio."""
        topic = f"{BASE}/health"
        self._subscriber.wait_for(
            lambda seen: any(m.topic == topic and json.loads(m.payload)["microphone_ok"] for m in seen)
        )

    def started(self) -> list[Received]:
        return [message for message in self._subscriber.received if _is_event(message, "started")]

    def wait_for_start(self, since_s: float, until_s: float) -> Received | None:
        """The first start of an episode that arrives in that (monotonic) time; None if none does."""

        def found(seen: list[Received]) -> Received | None:
            starts = (m for m in seen if m.arrived_s >= since_s and _is_event(m, "started"))
            return next(starts, None)

        try:
            return found(self._subscriber.wait_for(found, max(0.0, until_s - time.monotonic())))
        except AssertionError:
            return None

    def wait_for_end(self, started: Received, timeout_s: float) -> None:
        episode = payload(started)["episode_id"]

        def ended(seen: list[Received]) -> bool:
            return any(_is_event(m, "ended") and payload(m)["episode_id"] == episode for m in seen)

        self._subscriber.wait_for(ended, timeout_s)


def payload(message: Received) -> dict[str, Any]:
    return json.loads(message.payload)


def _is_event(message: Received, kind: str) -> bool:
    return message.topic == f"{BASE}/cry" and payload(message)["event_type"] == kind
