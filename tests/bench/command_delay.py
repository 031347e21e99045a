"""How long a parent's command is on its way: ``python -m tests.bench.command_delay [--commands N]``.

A hub publishes ``set/mute`` at random times over a real Mosquitto; a real MqttSink with its worker hears it.
Printed is the time until main is woken with the request in its box, and the time from an event that is handed
to the sink until the sink knows that the broker has it.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import threading
import time
from pathlib import Path

import structlog

from monitor.events.bus import MessageQueue
from monitor.service.lifecycle import Deadline
from monitor.service.requests import RequestBox
from monitor.service.worker import SinkWorker
from monitor.sinks.mqtt import MqttSink
from tests.broker import Mosquitto, Subscriber, wait_until
from tests.sinks.messages import episode
from tests.sinks.mqtt_room import BASE, settings_for

DEADLINE_S = 20.0


def measure(folder: Path, commands: int) -> tuple[list[float], list[float]]:
    """Milliseconds until main knows of each command, and until each event counts as delivered."""
    box, queue = RequestBox(), MessageQueue("mqtt")
    woken = threading.Semaphore(0)
    box.serve(woken.release)
    pause = random.Random(1)
    known_ms, reached_ms = [], []
    with Mosquitto(folder / "broker") as broker, Subscriber(broker.port) as hub:
        sink = MqttSink(settings_for(broker.port), inbox=box)
        worker = SinkWorker(sink, queue)
        worker.open()
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            wait_until(lambda: hub.last(f"{BASE}/availability") == "online", "the sink is connected")
            for number in range(commands):
                time.sleep(pause.uniform(0.1, 1.1))
                before_s = time.monotonic()
                hub.send(f"{BASE}/set/mute", "15 min")
                assert woken.acquire(timeout=DEADLINE_S), "the command never came"
                known_ms.append((time.monotonic() - before_s) * 1000)
                before_s = time.monotonic()
                queue.put(episode(episode_id=f"e{number}"))
                hub.wait_for(lambda _, n=number: len(hub.on(f"{BASE}/cry")) > n)
                wait_until(sink.reached, "the event is delivered")
                reached_ms.append((time.monotonic() - before_s) * 1000)
        finally:
            worker.request_stop(Deadline(5.0))
            thread.join()
    return known_ms, reached_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--commands", type=int, default=100)
    commands = parser.parse_args().commands
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), commands)
    for name, values in zip(("main knows a command", "an event is delivered"), measured, strict=True):
        values.sort()
        p50, p95 = values[len(values) // 2], values[len(values) * 95 // 100]
        print(f"{name:<22} p50 {p50:6.1f} ms   p95 {p95:6.1f} ms   max {values[-1]:6.1f} ms")


if __name__ == "__main__":
    main()
