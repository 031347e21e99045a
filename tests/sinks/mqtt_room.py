"""A running MQTT sink for tests, worked by the test itself instead of a service."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from monitor.sinks import moment
from monitor.sinks.moment import Moment
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.mqtt_settings import MqttSettings
from tests.broker import DEADLINE_S, HOST, Mosquitto, accepts_connections, free_port, wait_until

BASE = "cradlewatch/nursery"
DISCOVERY = "homeassistant/device/cradlewatch_nursery/config"


def settings_for(port: int, **more: Any) -> MqttSettings:
    fixed = {"host": HOST, "port": port, "device": "nursery", "device_name": "Nursery"}
    quick = {"reconnect_min_s": 0.1, "reconnect_max_s": 0.4}
    return MqttSettings(**fixed | quick | more)


_CLOCKS = ("monotonic_s", "now", "inbox")


@contextlib.contextmanager
def running_sink(broker: Mosquitto | int, **more: Any):
    """An open sink; closed at the end. ``more`` is for the settings, or clocks and an inbox for the sink."""
    port = broker if isinstance(broker, int) else broker.port
    given = {name: more.pop(name) for name in _CLOCKS if name in more}
    sink = MqttSink(settings_for(port, **more), jitter_s=lambda: 0.0, **given)
    sink.open()
    try:
        yield sink
    finally:
        sink.close(2.0)


class Clock:
    """Passes as time does, and as much faster as a test wants. Fits ``now`` and ``monotonic_s``."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> Moment:
        at = moment.now()
        return Moment(at.utc_s + self.ahead_s, at.boot, at.since_boot_s + self.ahead_s)

    def monotonic_s(self) -> float:
        return time.monotonic() + self.ahead_s


def work(sink: MqttSink, condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Do what the sink's worker does between messages until ``condition`` holds."""

    def tick() -> object:
        sink.tick()
        return condition()

    wait_until(tick, what, timeout_s)


def settle(sink: MqttSink) -> None:
    """Until connected, and the broker has all events for sure."""

    def settled() -> bool:
        stats = sink.stats()
        return stats.announced and stats.waiting == stats.settling == 0

    work(sink, settled, "the sink is connected and has delivered")


@contextlib.contextmanager
def amqtt_broker() -> Iterator[int]:
    """A real broker that knows MQTT 3.1.1 only, as a process of its own; its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor.demo.small_broker", str(port)], start_new_session=True
    )
    try:
        wait_until(lambda: process.poll() is not None or accepts_connections(port), "amqtt is ready")
        assert process.poll() is None, "amqtt ended at once"
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_S)


@contextlib.contextmanager
def refusing_mqtt_5(target_port: int, answer: bytes) -> Iterator[tuple[int, list[int]]]:
    """A gate before a broker that gives ``answer`` to protocol level 5 and closes the connection.

    Gives its port and the protocol levels that came.
    """
    levels: list[int] = []
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the server socket is closed at the end
                while True:
                    _pass_on(server.accept()[0], target_port, answer, levels)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1], levels
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _pass_on(client: socket.socket, target_port: int, answer: bytes, levels: list[int]) -> None:
    first = client.recv(4096)
    if not first:
        client.close()
        return
    levels.append(first[first.index(b"MQTT") + 4])
    if levels[-1] == 5:
        client.sendall(answer)
        client.close()
        return
    try:
        target = socket.create_connection((HOST, target_port))
    except OSError:  # nobody behind the gate at the moment
        client.close()
        return
    target.sendall(first)
    for source, sink in ((client, target), (target, client)):
        threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with source, contextlib.suppress(OSError):
        while data := source.recv(4096):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
