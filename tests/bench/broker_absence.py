"""How soon a broker that was away is found: ``python -m tests.bench.broker_absence [--away S] [--rounds N]``.

A real Mosquitto is stopped for so many seconds and started again. Printed is the time from its return to the
first message of a real MqttSink with its worker: where nothing hurries, and where an alarm comes a bit later.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import time
from pathlib import Path

import structlog

from monitor.events.bus import MessageQueue
from monitor.service.lifecycle import Deadline
from monitor.service.worker import SinkWorker
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.mqtt_settings import MqttSettings
from tests.broker import HOST, Mosquitto, Subscriber
from tests.sinks.messages import episode
from tests.sinks.mqtt_room import BASE

ALARM_AFTER_S = 1.0


def measure(folder: Path, away_s: float, *, alarm: bool) -> float:
    """Seconds from the broker's return, or from the alarm, to the first message."""
    queue = MessageQueue("mqtt")
    with Mosquitto(folder) as broker:
        sink = MqttSink(MqttSettings(HOST, "nursery", port=broker.port))
        worker = SinkWorker(sink, queue)
        worker.open()
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            with Subscriber(broker.port, f"{BASE}/#") as hub:
                hub.wait_for(lambda _: hub.last(f"{BASE}/availability") == "online")
            broker.stop()
            time.sleep(away_s)
            broker.start()
            back_s = time.monotonic()
            with Subscriber(broker.port, f"{BASE}/#") as hub:
                if alarm:
                    time.sleep(ALARM_AFTER_S)
                    back_s = time.monotonic()
                    queue.put(episode())
                seen = hub.wait_for(lambda _: hub.on(f"{BASE}/cry") if alarm else hub.received, 120.0)
                return max(0.0, seen[0].arrived_s - back_s)
        finally:
            worker.request_stop(Deadline(5.0))
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--away", type=float, default=120.0, metavar="S")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for alarm in (False, True):
        for number in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                found_s = measure(Path(folder) / str(number), arguments.away, alarm=alarm)
            since = "after an alarm" if alarm else "after its return"
            print(f"away {arguments.away:.0f} s: first message {found_s:5.2f} s {since}", flush=True)


if __name__ == "__main__":
    main()
