"""A broker that has gone mad: any bytes into our client, which has to outlive them."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from monitor.service.requests import RequestBox
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.mqtt_settings import MqttSettings
from tests.broker import HOST, wait_until
from tests.fuzz.mutate import spoiled
from tests.fuzz.target import Target

# MQTT 5, as on the wire: acknowledgement of CONNECT, of a subscription, a command, answers and the like.
_CONNACK = bytes([0x20, 3, 0, 0, 0])
_SET = b"cradlewatch/nursery/set/listening"
_PACKETS = (
    bytes([0x20, 8, 0, 0, 5, 0x22, 0, 10, 0x21, 0]),
    bytes([0x20, 3, 0, 0x87, 0]),
    bytes([0x90, 4, 0, 1, 0, 1]),
    bytes([0x40, 2, 0, 1]),
    bytes([0x40, 4, 0, 2, 0x87, 0]),
    bytes([0x30, len(_SET) + 5, 0, len(_SET)]) + _SET + b"\0ON",
    bytes([0x32, len(_SET) + 7, 0, len(_SET)]) + _SET + b"\0\1\0ON",
    bytes([0x30, 8, 0, 3, 0xFF, 0xFE, 0xFD, 0, 65, 66]),
    bytes([0x31, 0x85, 0x80, 0x80, 0x80]),
    bytes([0xD0, 0]),
    bytes([0xE0, 2, 0x8E, 0]),
    bytes([0xF0, 2, 0, 0]),
    bytes([0x62, 2, 0, 9]),
    bytes([0x50, 2, 0, 9]),
    bytes([0x20, 0xFF, 0xFF, 0xFF, 0x7F]),
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x16\x03\x01\x00\x05hello",
)


@dataclass(frozen=True)
class Given:
    accepted: bool
    """Whether a right CONNACK comes first."""
    sent: bytes
    hang_up: bool


class BrokerTarget(Target):
    name = "broker's bytes"
    share = 3_000
    limit_s = 60.0
    memory_mb = 2048

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._listening = socket.create_server((HOST, 0))
        self._listening.settimeout(30.0)
        settings = MqttSettings(
            HOST,
            "nursery",
            port=self._listening.getsockname()[1],
            reconnect_min_s=0.001,
            reconnect_max_s=0.002,
            protocol="5",
        )
        self._sink = MqttSink(settings, inbox=RequestBox(), jitter_s=lambda: 0.0)
        self._sink.open()

    @override
    def make(self, rng: random.Random) -> Given:
        packets = b"".join(rng.choice(_PACKETS) for _ in range(rng.randint(1, 4)))
        kind = rng.random()
        if kind < 0.6:
            packets = spoiled(packets, rng, 3)
        elif kind < 0.7:
            packets = rng.randbytes(rng.choice((1, 2, 5, 50, 5000)))
        return Given(rng.random() < 0.7, packets, rng.random() < 0.5)

    @override
    def feed(self, given: Given) -> str:
        connection = self._next()
        with connection:
            connection.settimeout(5.0)
            with contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall((_CONNACK if given.accepted else b"") + given.sent)
                if given.hang_up:
                    connection.shutdown(socket.SHUT_WR)
            self._sink.tick()
            time.sleep(0.002)
        self._sink.tick()
        self._sink.stats()
        return self._sink.fault()

    def _next(self) -> socket.socket:
        """The connection that the sink makes, whatever the one before did to it."""
        found: list[socket.socket] = []
        self._listening.setblocking(False)

        def connected() -> bool:
            self._sink.tick()
            with contextlib.suppress(BlockingIOError):
                found.append(self._listening.accept()[0])
            return bool(found)

        wait_until(connected, "the sink connects again", 30.0)
        return found[0]

    @override
    def close(self) -> None:
        self._listening.close()
        self._sink.close(1.0)
