"""A server that has a mistake in it: it answers again after a pause, and reports what it was."""

import os
import socket

from monitor import bounded_server
from monitor.bounded_server import BoundedServer, Bounds, tcp_socket
from tests.broker import wait_until
from tests.patience import HANGS_S

ECHO = Bounds(longest=16)


def asked(server: BoundedServer) -> bytes:
    address = server.address
    assert isinstance(address, tuple)
    with socket.create_connection(address[:2], timeout=HANGS_S) as caller:
        caller.sendall(b"hello")
        return caller.recv(100)


def test_a_server_that_fails_is_a_fault_and_listens_again(monkeypatch):
    monkeypatch.setattr(bounded_server, "OPEN_AGAIN_S", 0.2)
    mistakes = [TypeError("a mistake")]
    given: list[socket.socket] = []

    def opened() -> socket.socket:
        if mistakes:
            raise mistakes.pop()
        given.append(tcp_socket("127.0.0.1", 0))
        return given[-1]

    server = BoundedServer("test", opened, lambda heard, _: heard or None, ECHO)
    server.start()
    try:
        assert server.fault == "TypeError: a mistake"
        wait_until(lambda: not server.fault, "it listens")
        assert asked(server) == b"hello"
        # Its socket is closed under it while somebody is being heard and another one comes.
        address = given[0].getsockname()
        with socket.create_connection(address, timeout=HANGS_S) as heard:
            heard.sendall(b"")
            held = os.dup(given[0].detach())
            with socket.create_connection(address, timeout=HANGS_S):
                wait_until(lambda: len(given) > 1 and not server.fault, "it listens again")
        os.close(held)
        assert asked(server) == b"hello"
    finally:
        server.stop(HANGS_S)
