"""Hears phones acknowledge: ``POST /acknowledge/<token>``, and a page with one button for a plain link.

Looking at the page acknowledges nothing: messengers fetch links by themselves. Who can reach the port can
do no more than guess tokens, slowly.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import structlog

from monitor import commands
from monitor.bounded_server import BoundedServer, Bounds, tcp_socket
from monitor.commands import Control, Inbox
from monitor.errors import PermanentSinkError
from monitor.http_answer import Request, Response, http_answer, plain
from monitor.sinks import push_tokens
from monitor.sinks.push_tokens import Acknowledgement

log = structlog.get_logger(__name__)

PREFIX: Final = "/acknowledge/"
MAX_PATH: Final = len(PREFIX) + push_tokens.LONGEST
PER_MINUTE: Final = 60
"""Requests of one address for what was never issued."""
PEERS: Final = 256
BOUNDS: Final = Bounds(connections=32)
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

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

    ``on_acknowledged`` hears of an acknowledgement before it goes to ``inbox``, on that thread.
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
        self._listen = listen
        self._address = _address(listen)
        self._key = key
        self._inbox = inbox
        self._on_acknowledged = on_acknowledged
        self._clock = clock
        self._guesses: dict[str, deque[float]] = {}
        self._server = BoundedServer(
            "push-callback", lambda: tcp_socket(*self._address), http_answer(self._respond), BOUNDS
        )

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        address = self._server.address
        return address[1] if isinstance(address, tuple) else 0

    @property
    def fault(self) -> str:
        """Why phones are not heard, in a sentence; empty while they are. It goes on trying."""
        reason = self._server.fault
        return (
            f'push.callback_listen = "{self._listen}" cannot be listened to: {reason}. '
            "Is the port taken by another program?"
            if reason
            else ""
        )

    def open(self) -> None:
        """Listen, or begin to try."""
        self._server.start()
        if self.fault:
            log.warning("push.callback_closed", reason=self.fault)
        else:
            log.info("push.callback_open", port=self.port)

    def close(self) -> None:
        self._server.stop()

    def _respond(self, request: Request) -> Response:
        what = self._find(request.target)
        if what is None:
            guessed = (
                HTTPStatus.TOO_MANY_REQUESTS if self._guesses_too_much(request.peer) else HTTPStatus.NOT_FOUND
            )
            return plain(guessed)
        if request.method == "GET":
            return _page(_BUTTON)
        self._acknowledge(what)
        return _page(_DONE)

    def _find(self, target: str) -> Acknowledgement | None:
        """What ``target`` acknowledges, if anything."""
        if len(target) > MAX_PATH or not target.startswith(PREFIX):
            return None
        return push_tokens.read(self._key, target.removeprefix(PREFIX), self._clock())

    def _acknowledge(self, what: Acknowledgement) -> None:
        self._on_acknowledged(what)
        self._inbox.put(commands.Request(Control.ACKNOWLEDGE, what.episode_id.encode(), "phone"))
        log.info("push.acknowledged", episode_id=what.episode_id, channel=what.channel)

    def _guesses_too_much(self, peer: str) -> bool:
        """Whether ``peer`` guesses more often than people mistype.

        Valid ones are not counted: behind a router or a proxy, both parents have one address.
        """
        now_s = time.monotonic()
        times = self._guesses.setdefault(peer, deque(maxlen=PER_MINUTE))
        if len(self._guesses) > PEERS:
            del self._guesses[next(iter(self._guesses))]
        full = len(times) == PER_MINUTE and now_s - times[0] < 60
        if not full:
            times.append(now_s)
        return full


def _page(text: str) -> Response:
    return Response(HTTPStatus.OK, text.encode(), "text/html; charset=utf-8", _HEADERS)


def _address(listen: str) -> tuple[str, int]:
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise PermanentSinkError(
            f'push.callback_listen = "{listen}" is no address.', 'Write it as "0.0.0.0:8099".'
        )
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)  # noqa: S104 - what ":8099" asks for
