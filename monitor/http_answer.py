"""HTTP for a :class:`~monitor.bounded_server.BoundedServer`: one request a connection.

The standard library reads the headers. No answer repeats anything of its request, or says which program
gives it.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import Final

from monitor.bounded_server import Answer

LONGEST_HEAD: Final = 8192
MAX_BODY: Final = 1024
_BLANKS: Final = (b"\r\n\r\n", b"\n\n")
_METHODS: Final = frozenset({"GET", "POST"})


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    """Path and query as they came."""
    headers: Message
    body: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class Response:
    status: HTTPStatus
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        fields = {
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            "Connection": "close",
            **self.headers,
        }
        lines = [
            f"HTTP/1.0 {self.status.value} {self.status.phrase}",
            *(f"{k}: {v}" for k, v in fields.items()),
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


def plain(status: HTTPStatus) -> Response:
    """The status in words and nothing else."""
    return Response(status, status.phrase.encode())


def http_answer(respond: Callable[[Request], Response]) -> Answer:
    """``respond`` as a server wants it: called once a request is there whole and is one."""

    def answer(heard: bytes, peer: str) -> bytes | None:
        try:
            request = _read(heard, peer)
        except _RefusedError as error:
            return plain(error.status).to_bytes()
        return None if request is None else respond(request).to_bytes()

    return answer


class _RefusedError(Exception):
    """It is not a request that anybody here answers."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def _read(heard: bytes, peer: str) -> Request | None:
    """The request; None while it is not there whole. Raises _RefusedError."""
    ends = [heard.find(blank) + len(blank) for blank in _BLANKS if blank in heard]
    if len(heard[: min(ends)] if ends else heard) > LONGEST_HEAD:
        raise _RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    if not ends:
        return None
    line, _, fields = heard[: min(ends)].partition(b"\n")
    method, target = _first(line)
    try:
        headers = http.client.parse_headers(io.BytesIO(fields))
    except http.client.HTTPException as error:
        raise _RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error
    length, body = _length(headers), heard[min(ends) :]
    return Request(method, target, headers, body[:length], peer) if len(body) >= length else None


def _first(line: bytes) -> tuple[str, str]:
    """Method and target of a request's first line."""
    match line.decode("latin-1").split():
        case [method, target, "HTTP/1.0" | "HTTP/1.1"] if method in _METHODS:
            return method, target
        case [_, _, "HTTP/1.0" | "HTTP/1.1"]:
            raise _RefusedError(HTTPStatus.NOT_IMPLEMENTED)
    raise _RefusedError(HTTPStatus.BAD_REQUEST)


def _length(headers: Message) -> int:
    """Bytes of the body."""
    length = str(headers.get("Content-Length", "0"))
    if "Transfer-Encoding" in headers or not (length.isascii() and length.isdecimal()) or len(length) > 9:
        raise _RefusedError(HTTPStatus.BAD_REQUEST)
    if int(length) > MAX_BODY:
        raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return int(length)
