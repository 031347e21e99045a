"""Hears phones acknowledge: ``POST /acknowledge/<token>``, and a page with one button for a plain link.

Looking at the page acknowledges nothing: messengers fetch links by themselves. Whoever can reach the port can
do no more than guess tokens, slowly.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import structlog
from typing_extensions import override

from monitor.commands import Control, Inbox, Request
from monitor.errors import PermanentSinkError
from monitor.sinks import push_tokens
from monitor.sinks.push_tokens import Acknowledgement

log = structlog.get_logger(__name__)

PREFIX: Final = "/acknowledge/"
MAX_BODY: Final = 1024
MAX_PATH: Final = len(PREFIX) + push_tokens.LONGEST
AT_ONCE: Final = 8
REQUEST_WITHIN_S: Final = 5.0
PER_MINUTE: Final = 60
"""Requests of one address."""
PEERS: Final = 256

_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<meta name=robots content=noindex><title>Cradlewatch</title>"
    "<style>body{{font:1.3em sans-serif;text-align:center;margin:15vh 1em}}"
    "button{{font:inherit;padding:1em 2em}}</style>{}</html>"
)
_BUTTON: Final = _PAGE.format("<form method=post><button>I am on the way</button></form>")
_DONE: Final = _PAGE.format("<p>Acknowledged.</p>")


class AcknowledgeListener:
    """The server, in a thread of its own from ``open`` to ``close``.

    ``on_acknowledged`` hears of an acknowledgement before it goes to ``inbox``; any thread calls it.
    """

    def __init__(
        self,
        listen: str,
        key: bytes,
        inbox: Inbox,
        on_acknowledged: Callable[[Acknowledgement], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = _address(listen)
        self._key = key
        self._inbox = inbox
        self._on_acknowledged = on_acknowledged
        self._clock = clock
        self._recent: dict[str, deque[float]] = {}
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return 0 if self._server is None else int(self._server.server_address[1])

    @property
    def is_open(self) -> bool:
        return self._server is not None

    def open(self) -> None:
        """Raises OSError when the address cannot be had now."""
        server = _Server(self._address, self)
        self._thread = threading.Thread(target=server.serve_forever, name="push-callback", daemon=True)
        self._server = server
        self._thread.start()

    def close(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def is_too_much(self, peer: str) -> bool:
        """Whether ``peer`` asks more often than people do."""
        now_s = time.monotonic()
        with self._lock:
            times = self._recent.setdefault(peer, deque(maxlen=PER_MINUTE))
            if len(self._recent) > PEERS:
                del self._recent[next(iter(self._recent))]
            full = len(times) == PER_MINUTE and now_s - times[0] < 60
            if not full:
                times.append(now_s)
            return full

    def find(self, path: str) -> Acknowledgement | None:
        """What ``path`` acknowledges, if anything."""
        if not path.startswith(PREFIX):
            return None
        return push_tokens.read(self._key, path.removeprefix(PREFIX), self._clock())

    def acknowledge(self, what: Acknowledgement) -> None:
        self._on_acknowledged(what)
        self._inbox.put(Request(Control.ACKNOWLEDGE, what.episode_id.encode(), "phone"))
        log.info("push.acknowledged", episode_id=what.episode_id, channel=what.channel)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = AT_ONCE

    def __init__(self, address: tuple[str, int], listener: AcknowledgeListener) -> None:
        self.listener = listener
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    @override
    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the name server for our name and may wait for it.
        socketserver.TCPServer.server_bind(self)

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._free.release()
            self.shutdown_request(request)

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A timeout of the socket begins anew with each byte; this one does not.
        cut = threading.Timer(REQUEST_WITHIN_S, _cut, (request,))
        cut.daemon = True
        try:
            cut.start()
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._free.release()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if isinstance(error, OSError | ValueError):  # cut off, by the other side or by our timer
            log.debug("push.callback_cut", error=str(error))
        else:
            log.error("push.callback_failed", error=f"{type(error).__name__}: {error}")


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_WITHIN_S
    server: _Server

    def do_GET(self) -> None:
        if self._admitted() is not None:
            self._answer(HTTPStatus.OK, _BUTTON)

    def do_POST(self) -> None:
        what = self._admitted()
        if what is not None and self._body_is_read():
            self.server.listener.acknowledge(what)
            self._answer(HTTPStatus.OK, _DONE)

    def _admitted(self) -> Acknowledgement | None:
        """What the request is about; None when it has been answered already."""
        if self.server.listener.is_too_much(self.client_address[0]):
            self.send_error(HTTPStatus.TOO_MANY_REQUESTS)
            return None
        what = self.server.listener.find(self.path) if len(self.path) <= MAX_PATH else None
        if what is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        return what

    def _body_is_read(self) -> bool:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or len(length) > 9:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return False
        if int(length) > MAX_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return False
        return len(self.rfile.read(int(length))) == int(length)

    def _answer(self, status: HTTPStatus, page: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self._end(page.encode())

    def _end(self, body: bytes) -> None:
        for name, value in (
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    @override
    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(
            code, message
        )  # no Server header: which program this is, is nobody's business

    @override
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.close_connection = True
        phrase = HTTPStatus(code).phrase
        self.send_response(code, phrase)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self._end(phrase.encode())

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a path holds a token."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.debug("push.callback_was_closed")


def _address(listen: str) -> tuple[str, int]:
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise PermanentSinkError(
            f'push.callback_listen = "{listen}" is no address.', 'Write it as "0.0.0.0:8099".'
        )
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 - what ":8099" asks for
