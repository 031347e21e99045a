"""A server that nobody can exhaust: one thread made at the start, few connections, little time for each.

Whatever listens in this program listens through it: metrics, the phones' acknowledgement, the status socket.
A thousand idle connections, a host that sends a byte a second, and one that never fetches its answer cost a
bounded number of descriptors and no thread; nobody else waits for them. Each connection carries one request:
:data:`Answer` says what to answer to what has been heard so far.

Own code, because no library had these limits: waitress counts only silence as time and accepts nobody while
all its places are taken, so 50 hosts that send a byte a second keep everybody out for as long as they like.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

log = structlog.get_logger(__name__)

Answer = Callable[[bytes, str], bytes | None]
"""What to answer to the bytes that a peer has sent so far; None: more is needed; empty: hang up. On the
server's thread, so it must not wait."""

STARTED_WITHIN_S: Final = 0.5
OPEN_AGAIN_S: Final = 5.0
SHORT_OF_FILES_S: Final = 0.5
LINGER_S: Final = 1.0
"""How long what a peer still sends after its answer is taken, so that the answer is not lost to a reset."""
_AT_ONCE: Final = 8
"""Callers let in between two looks at those who are in."""
_STEPS_A_SECOND: Final = 2400
"""Of which a request takes three. A flood must not take the processor from who listens to the baby."""
_STEPS_AT_ONCE: Final = 300
_CHUNK: Final = 16_384
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What keeps one caller from being heard, and not the next one."""
_OF_THE_CALLER: Final = frozenset({errno.ECONNABORTED, errno.EPERM, errno.EPROTO})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What strangers can use up at most."""

    connections: int = 32
    """At once. One more, and the oldest of the peer that holds the most has to go."""
    within_s: float = 5.0
    """From the first to the last byte of a connection, however busy it is."""
    longest: int = 16_384
    """Bytes of a request."""


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    peer: str
    until_s: float
    heard: bytearray = field(default_factory=bytearray)
    to_send: memoryview = field(default_factory=lambda: memoryview(b""))
    answered: bool = False
    turn: Callable[[], None] = lambda: None
    """What the selector calls when the socket is ready."""


@dataclass(slots=True)
class _Pace:
    """How much work is done a second: what was saved up at once, and then as it comes in."""

    steps: int = 0
    """Since the last question."""
    _saved: float = _STEPS_AT_ONCE
    _at_s: float = 0.0

    def owed_s(self, now_s: float) -> float:
        """How long to wait before the next step."""
        earned = (now_s - self._at_s) * _STEPS_A_SECOND
        self._saved = min(_STEPS_AT_ONCE, self._saved + earned) - self.steps
        self.steps, self._at_s = 0, now_s
        return max(0.0, -self._saved / _STEPS_A_SECOND)


class BoundedServer:
    """``open_socket`` binds the socket; it is asked again, for ever, while it raises OSError.

    It may wait for a disk, as ``closed`` may, which is called at the end: only the server's thread does.

    ``start``, ``stop``, ``reopen`` and the properties are for any thread.
    """

    def __init__(
        self,
        name: str,
        open_socket: Callable[[], socket.socket],
        answer: Answer,
        bounds: Bounds = Bounds(),
        *,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._closed = closed
        self._tried = threading.Event()
        self._open_socket = open_socket
        self._answer = answer
        self._bounds = bounds
        self._selector = selectors.DefaultSelector()
        self._connections: dict[socket.socket, _Connection] = {}
        self._listening: socket.socket | None = None
        self._listen_at_s = 0.0
        self._paused = False
        self._spare: int | None = None
        self._waker: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None
        self._stopping = self._reopening = False
        self._pace = _Pace()
        self.fault = ""
        """Why nobody can be heard, as the system words it; empty while it listens."""

    @property
    def address(self) -> object:
        """Where it listens; None while it does not."""
        listening = self._listening
        return None if listening is None else listening.getsockname()

    def start(self) -> None:
        """Listen, or begin to try; ``fault`` says which. Waits half a second at most."""
        self._stopping = False
        # Kept for the moment in which no other descriptor is left: just then somebody asks what is wrong.
        self._spare = _spare()
        self._waker = _pair()
        self._selector.register(self._waker[0], selectors.EVENT_READ, self._awaken)
        self.fault = "no answer yet"
        self._tried.clear()
        thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
        thread.start()
        self._thread = thread
        self._tried.wait(STARTED_WITHIN_S)

    def reopen(self) -> None:
        """Bind the socket again: somebody took its path away."""
        self._reopening = True
        self._wake()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Answer no more."""
        self._stopping = True
        if self._thread is not None:
            self._wake()
            self._thread.join(timeout_s)
            self._thread = None

    def _wake(self) -> None:
        waker = self._waker  # another thread may be stopping it
        if waker is not None:
            with contextlib.suppress(OSError):  # full: it is awake
                waker[1].send(b"x")

    # --- the thread -------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._attempt(self._listen)
            self._tried.set()
            while not self._stopping:
                self._attempt(self._turn)
                time.sleep(self._pace.owed_s(time.monotonic()))
        finally:
            self._release()
            self._closed()

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # a mistake of ours, or a system that has run out of something
            log.exception("server.failed", server=self._name)
            self._begin_again(f"{type(error).__name__}: {error}")

    def _begin_again(self, why: str) -> None:
        """Give up everything and listen again after a pause: a parent may still want to acknowledge."""
        for connection in list(self._connections.values()):
            self._connections.pop(connection.socket)
            connection.socket.close()
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        assert self._waker is not None
        self._selector.register(self._waker[0], selectors.EVENT_READ, self._awaken)
        self.fault = why
        self._listen_at_s = time.monotonic() + OPEN_AGAIN_S

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._pause_s()):
            key.data()
            self._pace.steps += 1
        now_s = time.monotonic()
        for connection in [one for one in self._connections.values() if one.until_s <= now_s]:
            self._drop(connection)
        if self._listen_at_s and now_s >= self._listen_at_s:
            self._listen()

    def _pause_s(self) -> float | None:
        moments = [one.until_s for one in self._connections.values()]
        if self._listen_at_s:
            moments.append(self._listen_at_s)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _awaken(self) -> None:
        assert self._waker is not None
        self._waker[0].recv(_CHUNK)
        if self._reopening:
            self._reopening = False
            self._close_listening()
            self._listen()

    def _listen(self) -> None:
        """Bind, or listen again after a pause; on failure say why and try later."""
        self._listen_at_s = 0.0
        try:
            if self._listening is None:
                self._listening = self._open_socket()
                self._listening.setblocking(False)
            self._selector.register(self._listening, selectors.EVENT_READ, self._admit)
        except OSError as error:
            self.fault = _reason(error)
            self._listen_at_s = time.monotonic() + OPEN_AGAIN_S
        else:
            self.fault, self._paused = "", False

    def _close_listening(self) -> None:
        if self._listening is not None:
            if not self._paused:
                self._selector.unregister(self._listening)
            self._listening.close()
            self._listening = None

    def _admit(self) -> None:
        for _ in range(_AT_ONCE):
            if self._listening is None:
                return
            try:
                accepted, address = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OF_THE_CALLER:
                    continue
                if not self._make_room(error):
                    return
                continue
            self._take(accepted, str(address[0]) if isinstance(address, tuple) else "")

    def _make_room(self, error: OSError) -> bool:
        """Whether another caller can be let in now after all."""
        if error.errno not in _PASSING:
            self._close_listening()
            self.fault = _reason(error)
            self._listen_at_s = time.monotonic() + OPEN_AGAIN_S
            return False
        if self._connections:
            self._drop_oldest()
            return True
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
            return True
        # Else the waiting caller would keep this thread turning.
        assert self._listening is not None
        self._selector.unregister(self._listening)
        self._paused = True
        self._listen_at_s = time.monotonic() + SHORT_OF_FILES_S
        return False

    def _take(self, accepted: socket.socket, peer: str) -> None:
        if len(self._connections) >= self._bounds.connections:
            self._drop_oldest()
        self._pace.steps += 1
        accepted.setblocking(False)
        connection = _Connection(accepted, peer, time.monotonic() + self._bounds.within_s)
        connection.turn = partial(self._attend, connection)
        self._connections[accepted] = connection
        self._selector.register(accepted, selectors.EVENT_READ, connection.turn)
        if self._bounds.longest == 0:  # it is answered unasked
            self._consider(connection)

    def _drop_oldest(self) -> None:
        """Of the peer that holds the most, so that one host alone cannot push out the others."""
        held = Counter(one.peer for one in self._connections.values())
        self._drop(max(self._connections.values(), key=lambda one: (held[one.peer], -one.until_s)))

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection.socket]
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if self._spare is None:
            self._spare = _spare()

    def _attend(self, connection: _Connection) -> None:
        if connection.socket not in self._connections:
            return  # dropped by what came before it in this turn
        try:
            if connection.to_send:
                self._send(connection)
            else:
                self._hear(connection)
        except BlockingIOError:
            return
        except OSError:  # the other side has gone: nothing is lost
            self._drop(connection)

    def _hear(self, connection: _Connection) -> None:
        part = connection.socket.recv(_CHUNK)
        if not part:
            self._drop(connection)
        elif not connection.answered:
            connection.heard += part
            self._consider(connection)

    def _consider(self, connection: _Connection) -> None:
        """Answer, if what was heard suffices, or hang up if it is too much."""
        try:
            answer = self._answer(bytes(connection.heard[: self._bounds.longest]), connection.peer)
        except Exception:
            log.exception("server.request_failed", server=self._name)  # it must not end the server
            answer = b""
        if answer is None and len(connection.heard) > self._bounds.longest:
            answer = b""
        if answer is not None:
            self._reply(connection, answer)

    def _reply(self, connection: _Connection, answer: bytes) -> None:
        connection.answered = True
        connection.to_send = memoryview(answer)
        try:
            self._send(connection)
        except BlockingIOError:
            self._selector.modify(connection.socket, selectors.EVENT_WRITE, connection.turn)
        except OSError:
            self._drop(connection)

    def _send(self, connection: _Connection) -> None:
        while connection.to_send:
            connection.to_send = connection.to_send[connection.socket.send(connection.to_send) :]
        connection.socket.shutdown(socket.SHUT_WR)
        connection.until_s = min(connection.until_s, time.monotonic() + LINGER_S)
        self._selector.modify(connection.socket, selectors.EVENT_READ, connection.turn)

    def _release(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._close_listening()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        if self._waker is not None:
            self._selector.unregister(self._waker[0])
            for end in self._waker:
                end.close()
            self._waker = None
        self._selector.close()
        self._selector = selectors.DefaultSelector()


def tcp_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError when the address cannot be had now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, backlog=128, dualstack_ipv6=both)


def _reason(error: OSError) -> str:
    # Not strerror: create_server() adds the address to it, which the caller has named already.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _pair() -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


def _spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
