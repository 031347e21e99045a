"""What the outbox costs: ``python -m tests.bench.outbox_delay [--folder DIR]``.

From the call of ``MqttSink.handle`` with the start of an episode to its return, when the event is on disk,
and to its arrival at a subscriber over a real Mosquitto. Name a folder on the disk that counts.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import structlog

from monitor.sinks.mqtt import MqttSink
from tests.broker import Mosquitto, Subscriber
from tests.sinks.messages import episode
from tests.sinks.mqtt_room import BASE, settings_for, settle

EVENTS = 200


def measure(folder: Path, *, on_disk: bool) -> tuple[list[float], list[float]]:
    """Milliseconds until ``handle`` has returned, and until the event has arrived."""
    kept_ms, arrived_ms = [], []
    with Mosquitto(folder / "broker") as broker, Subscriber(broker.port, f"{BASE}/cry") as hub:
        sink = MqttSink(settings_for(broker.port, state_dir=folder if on_disk else None))
        sink.open()
        settle(sink)
        for number in range(EVENTS):
            message = episode(episode_id=f"e{number}")
            before_s = time.monotonic()
            sink.handle(message)
            kept_ms.append((time.monotonic() - before_s) * 1000)
            seen = hub.wait_for(lambda seen, n=number: len(seen) > n)
            arrived_ms.append((seen[number].arrived_s - before_s) * 1000)
            sink.tick()
        sink.close(5.0)
    return kept_ms, arrived_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path)
    where = parser.parse_args().folder
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for on_disk in (False, True):
        with tempfile.TemporaryDirectory(dir=where) as folder:
            for name, values in zip(
                ("handle() returned", "arrived"), measure(Path(folder), on_disk=on_disk), strict=True
            ):
                values.sort()
                p50, p95 = values[EVENTS // 2], values[EVENTS * 95 // 100]
                kept = "outbox on disk" if on_disk else "in memory"
                print(f"{kept:<16}{name:<20}p50 {p50:6.2f} ms   p95 {p95:6.2f} ms   max {values[-1]:6.2f} ms")


if __name__ == "__main__":
    main()
