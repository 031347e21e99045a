"""Receivers for push: an HTTP server that keeps what it gets and answers as it is told, and a mail server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl

from aiosmtpd.controller import Controller


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    arrived_s: float = field(default_factory=time.monotonic)
    """Monotonic."""

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Who did not wait for the answer has tried again since."""


class HttpReceiver:
    """``answers``: status codes to give, in order; 200 when there are none left.

    ``hold`` makes it keep its answer back while it is cleared, if it is one that it ``holds``.
    """

    def __init__(self, port: int = 0) -> None:
        self.received: list[Received] = []
        self.answers: deque[int] = deque()
        self.hold = threading.Event()
        self.hold.set()
        self.holds: Callable[[Received], bool] = lambda _: True
        self.arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.path, headers, body)
                with receiver.arrived:
                    receiver.received.append(received)
                    receiver.arrived.notify_all()
                if receiver.holds(received):
                    receiver.hold.wait(20)
                status = receiver.answers.popleft() if receiver.answers else 200
                answer = b'{"id": "m1", "ok": true, "status": 1}'
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self) -> None:
                """A page that answers well and delivers nothing."""
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening. Harmless the second time."""
        self.hold.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def wait_for(self, n: int, timeout_s: float = 20.0) -> list[Received]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= n, timeout_s), self.received
            return list(self.received)


class MailReceiver:
    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.refuse = False
        # The controller tries whether its port answers, so it has to know it beforehand.
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refuse:
            return "554 not today"
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
