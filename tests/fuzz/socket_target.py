"""What others may say to the monitor's sockets: the phones' callback and the status socket, both ways."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from monitor.cli.status import CODES, lines, understood
from monitor.errors import MonitorError
from monitor.service.requests import RequestBox
from monitor.service.status_socket import StatusServer, ask
from monitor.sinks import push_tokens
from monitor.sinks.push_callback import AcknowledgeListener
from monitor.sinks.push_tokens import Acknowledgement
from tests.fuzz.mutate import any_text, spoiled, spoiled_json
from tests.fuzz.target import Target

_KEY = b"key"
_TOKEN = push_tokens.issue(_KEY, Acknowledgement("e1", "Mum"), time.time())


@dataclass(frozen=True)
class Spoken:
    peer: str
    parts: tuple[bytes, ...]
    shut: bool
    slow: bool


class CallbackTarget(Target):
    """Raw bytes to the acknowledging listener, from many addresses: each may guess 60 times a minute."""

    name = "phone callback"
    share = 6_000
    limit_s = 20.0
    memory_mb = 2048

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._box = RequestBox(100_000)
        self._heard: list[Acknowledgement] = []
        self._listener = AcknowledgeListener("127.0.0.1:0", _KEY, self._box, self._heard.append)
        self._listener.open()

    @override
    def make(self, rng: random.Random) -> Spoken:
        usual = rng.random() < 0.3
        method = (
            "POST"
            if usual
            else rng.choice(("GET", "POST", "POST", "PUT", "HEAD", "OPTIONS", "get", "", "A" * 70_000))
        )
        path = (
            f"/acknowledge/{_TOKEN}"
            if usual
            else rng.choice(
                (
                    f"/acknowledge/{_TOKEN}",
                    f"/acknowledge/{_TOKEN[:-1]}",
                    f"/acknowledge/../acknowledge/{_TOKEN}",
                    "/acknowledge/",
                    f"/acknowledge/%2e%2e/{_TOKEN}",
                    "//acknowledge/x.y",
                    f"http://evil/acknowledge/{_TOKEN}",
                    "/" + "a" * 100_000,
                    "/acknowledge/" + any_text(rng),
                )
            )
        )
        version = rng.choice(
            ("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/9.9", "HTTP/a.b", "", "HTTP/1.1.1")
        )
        headers = [("Host", "pi"), ("Connection", rng.choice(("close", "keep-alive")))]
        for _ in range(rng.choice((0, 1, 2, 200))):
            name = rng.choice(
                ("Content-Length", "Transfer-Encoding", "Expect", "X", "Content-Type", any_text(rng, 9))
            )
            value = rng.choice(
                (
                    "0",
                    "5",
                    "-1",
                    "1025",
                    "99999999999999999999",
                    "chunked",
                    "100-continue",
                    "٣",
                    any_text(rng),
                )
            )
            headers.append((name, value))
        head = f"{method} {path} {version}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers) + "\r\n"
        data = head.encode("utf-8", "surrogatepass") + rng.choice((b"", b"x" * 5, b"x" * 5000))
        kind = rng.random()
        if kind < 0.4:
            data = spoiled(data, rng, 3)
        elif kind < 0.5:
            data = rng.randbytes(rng.choice((1, 100, 100_000)))
        cut = rng.randrange(len(data) + 1)
        peer = f"127.{rng.randrange(1, 250)}.{rng.randrange(250)}.{rng.randrange(1, 250)}"
        return Spoken(peer, (data[:cut], data[cut:]), rng.random() < 0.997, rng.random() < 0.001)

    @override
    def feed(self, given: Spoken) -> str:
        self._heard.clear()
        if given.slow:
            return self._slow()
        answer = b""
        with contextlib.suppress(OSError), self._connected(given.peer) as connection:
            for part in given.parts:
                connection.sendall(part)
            if given.shut:
                connection.shutdown(socket.SHUT_WR)
            while len(answer) < 100_000 and (more := connection.recv(65536)):
                answer += more
                if not given.shut:
                    break
        assert b"Traceback" not in answer
        if self._heard:
            assert _TOKEN.encode() in b"".join(given.parts), "acknowledged without its token"
            assert self._box.take()[-1].payload == b"e1"
            return ""
        return "It acknowledged nothing."

    def _slow(self) -> str:
        """All places taken by clients that send a byte a second: a phone gets through all the same."""
        with contextlib.ExitStack() as stack:
            slow = [stack.enter_context(self._connected(f"127.9.9.{n}")) for n in range(1, 12)]
            deadline_s = time.monotonic() + 12.0
            while time.monotonic() < deadline_s:
                for connection in slow:
                    with contextlib.suppress(OSError):
                        connection.send(b"G")
                if self._acknowledges():
                    return ""
                time.sleep(0.5)
        raise AssertionError("slow clients keep the phones out for more than 12 s")

    def _acknowledges(self) -> bool:
        with contextlib.suppress(OSError), self._connected("127.0.0.9") as phone:
            phone.sendall(f"POST /acknowledge/{_TOKEN} HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode())
            return b" 200 " in phone.recv(100)
        return False

    def _connected(self, peer: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._listener.port), 10.0, (peer, 0))

    @override
    def close(self) -> None:
        self._listener.close()


_REPORT: dict[str, Any] = {
    "device": "nursery",
    "version": "1",
    "pid": 1,
    "uptime_s": 1.5,
    "state": "ok",
    "reasons": [],
    "microphone_ok": True,
    "signal_ok": True,
    "source": "mic",
    "counters": {"audio_s": 1.0, "audio_lost_s": 0.0},
    "sinks": {"mqtt": ""},
    "controls": {
        "listening": True,
        "sensitivity": 50,
        "hold_s": 5.0,
        "quiet_hours": "off",
        "muted_until": None,
    },
    "alert": {"state": "none", "since": None},
    "night": {"episodes": 0, "crying_s": 0.0},
}


class StatusServerTarget(Target):
    """Bytes into the socket that only answers."""

    name = "status socket"
    share = 2_000
    memory_mb = 1024

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "s"
        self._server = StatusServer(self._path, lambda: _REPORT)
        assert self._server.start() == ""

    @override
    def make(self, rng: random.Random) -> bytes:
        return rng.randbytes(rng.choice((0, 1, 100, 300_000)))

    @override
    def feed(self, given: bytes) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5.0)
            connection.connect(str(self._path))
            with contextlib.suppress(OSError):
                connection.sendall(given)
        assert ask(self._path) == _REPORT
        return ""

    @override
    def close(self) -> None:
        self._server.stop()


class StatusAnswerTarget(Target):
    """Answers of a service of another version, or of none, to ``cradlewatch status``."""

    name = "status answers"
    share = 4_000
    memory_mb = 1024

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "s"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._path))
        self._listening.listen(4)
        self._answer = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.sendall(self._answer)

    @override
    def make(self, rng: random.Random) -> bytes:
        return b"" if rng.random() < 0.02 else spoiled_json(_REPORT, rng)

    @override
    def feed(self, given: bytes) -> str:
        self._answer = given
        try:
            report = ask(self._path)
            shown = understood(report)
            for name, value in lines(shown):
                f"{name}{value}".encode("utf-8", "backslashreplace")
            CODES[shown.state]
        except MonitorError as error:
            return str(error)
        json.dumps(report)
        return ""

    @override
    def close(self) -> None:
        self._listening.close()
