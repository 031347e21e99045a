"""What idle and slow connections cost a listening monitor: ``python -m tests.bench.idle_connections``.

Metrics and the acknowledgement port, in this process; N connections each that send nothing, then N that send
a byte every 50 ms. Prints threads and descriptors of our own side, and how long a valid acknowledgement and a
scrape take.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import resource
import socket
import statistics
import threading
import time
from collections.abc import Iterator, Sequence

from monitor.commands import Request
from monitor.log import configure_logging
from monitor.service.metrics import MetricsServer
from monitor.sinks import push_tokens
from monitor.sinks.push_callback import PREFIX, AcknowledgeListener
from monitor.sinks.push_tokens import Acknowledgement
from tests.access import open_files

HOST = "127.0.0.1"
KEY = b"k" * 32
ASKED = 50
REPORT = {
    "device": "nursery",
    "version": "x",
    "source": "x",
    "state": "ok",
    "sinks": {},
    "night": {"episodes": 0, "crying_s": 0.0},
    "uptime_s": 1.0,
    "microphone_ok": True,
    "signal_ok": True,
    "controls": {"listening": True},
    "alert": {"state": "none"},
    "counters": {},
}


class Inbox:
    """Takes what phones acknowledge."""

    def put(self, request: Request) -> None:
        """Nothing is done with it."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=1000, help="to each port (1000)")
    connections = parser.parse_args(arguments).connections
    configure_logging("warning")
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(allowed, 4 * connections + 200), allowed))
    metrics = MetricsServer(f"{HOST}:0", lambda: REPORT)
    listener = AcknowledgeListener(f"{HOST}:0", KEY, Inbox(), lambda _: None)
    metrics.start()
    listener.open()
    ports = (metrics.port, listener.port)
    _show("none", ports, 0)
    with held(ports, connections):
        _show(f"{connections} idle to each", ports, 2 * connections)
    with held(ports, connections) as hosts, dripping(hosts):
        _show(f"{connections} slow to each", ports, 2 * connections)
    listener.close()
    metrics.stop()


@contextlib.contextmanager
def held(ports: Sequence[int], connections: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((HOST, port), 10))
            for port in ports
            for _ in range(connections)
        ]


@contextlib.contextmanager
def dripping(hosts: Sequence[socket.socket]) -> Iterator[None]:
    done = threading.Event()

    def drip() -> None:
        while not done.wait(0.05):
            for host in hosts:
                with contextlib.suppress(OSError):
                    host.send(b"G")

    thread = threading.Thread(target=drip, name="bench-drip")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _show(what: str, ports: Sequence[int], theirs: int) -> None:
    scrape = _took_ms(ports[0], "GET", "/metrics")
    token = push_tokens.issue(KEY, Acknowledgement("e1", "Mum"), time.time())
    acknowledged = _took_ms(ports[1], "POST", PREFIX + token)
    threads = sum(not thread.name.startswith("bench") for thread in threading.enumerate())
    print(
        f"{what:20}  {threads} threads, {open_files() - theirs:3} descriptors;"
        f" acknowledged in p50 {statistics.median(acknowledged):.1f}, longest {max(acknowledged):.0f} ms;"
        f" scraped in p50 {statistics.median(scrape):.1f}, longest {max(scrape):.0f} ms"
    )


def _took_ms(port: int, method: str, path: str) -> list[float]:
    took = []
    for _ in range(ASKED):
        began_s = time.perf_counter()
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        connection.close()
        took.append(1000 * (time.perf_counter() - began_s))
        assert response.status == 200
    return took


if __name__ == "__main__":
    main()
