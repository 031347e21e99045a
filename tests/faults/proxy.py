"""A TCP proxy that is a bad network: slow, narrow, cut, or silent with all connections open."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from tests.broker import HOST

CHUNK = 4096


class Proxy:
    """Forwards a free loopback port to ``port``. The faults hold for old and new connections."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = threading.Event()
        self._open.set()
        self._back = threading.Event()
        self._back.set()
        self._cut = False
        self.delay_s = 0.0
        """Each part of the traffic takes that long."""
        self.bytes_per_s = 0.0
        """0 is as many as there are."""
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def blackhole(self) -> None:
        """Half-open: nobody closes anything, and nothing arrives."""
        self._open.clear()

    def withhold(self) -> None:
        """What is sent arrives, and no answer comes back."""
        self._back.clear()

    def answer(self) -> None:
        """Let the answers that were withheld, and all others, come back."""
        self._back.set()

    def cut(self) -> None:
        """Close every connection, and every new one at once."""
        self._cut = True
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._cut = False
        self.delay_s = self.bytes_per_s = 0.0
        self._open.set()
        self._back.set()

    def close(self) -> None:
        self._listening.close()
        self.cut()
        self._open.set()
        self._back.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self._cut:
                    raise ConnectionRefusedError
                far = socket.create_connection((HOST, self._to), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._sockets |= {near, far}
            for way in ((near, far, self._open), (far, near, self._back)):
                threading.Thread(target=self._pump, args=way, name="proxy-pump", daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, gate: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                gate.wait()
                self._open.wait()
                time.sleep(self.delay_s + (len(data) / self.bytes_per_s if self.bytes_per_s else 0.0))
                self._open.wait()
                target.sendall(data)
        with self._lock:
            self._sockets -= {source, target}
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
