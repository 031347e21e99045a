"""Kill the monitor, the broker and the consumer at random moments, and count what was lost or doubled.

``python -m tests.soak.kills --kills 500 --seed 1``

The monitor is a real process with bus, sink worker, MQTT sink and outbox; the broker a real Mosquitto that
saves on every change; the consumer a persistent subscriber that acknowledges what it has on disk. Each is
killed with SIGKILL. An event counts as accepted once ``MqttSink.handle`` has returned, which the monitor
writes to a file of its own, flushed. In the end each episode whose start was accepted must have one start and
one end at the consumer, as far as event ids tell.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from monitor.events.bus import MessageBus
from monitor.messages import AnyMessage, EpisodeMessage
from monitor.service.lifecycle import Deadline
from monitor.service.worker import SinkWorker
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.mqtt_settings import MqttSettings
from tests.broker import HOST, Mosquitto, wait_until
from tests.soak.victims import FORK, Journal, kill_at_random, log_to

DEVICE = "nursery"
BASE = f"cradlewatch/{DEVICE}"
SETTLE_S = 60.0
SHARES = {"monitor": 0.4, "broker": 0.35, "consumer": 0.25}


@dataclass(frozen=True)
class Pace:
    seed: int
    pause_s: float
    """Longest time between two kills."""
    step_s: float
    """Longest time between two messages of the monitor."""


# --- the monitor ------------------------------------------------------------------------------------


class WitnessedSink(MqttSink):
    """Writes down what it has accepted."""

    def __init__(self, settings: MqttSettings, journal: Journal) -> None:
        super().__init__(settings, jitter_s=lambda: 0.0)
        self._journal = journal

    def handle(self, message: AnyMessage) -> None:
        super().handle(message)
        if isinstance(message, EpisodeMessage) and message.event_type != "updated":
            self._journal.write(_facts(message.model_dump(mode="json")))


def _facts(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("episode_id", "event_type", "event_id", "truncated")}


def run_monitor(port: int, folder: Path, life: int, pace: Pace) -> None:
    log_to(folder / "monitor.log")
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    (folder / f"life-{life}").touch()
    settings = MqttSettings(
        HOST, DEVICE, port=port, state_dir=folder, reconnect_min_s=0.05, reconnect_max_s=0.2
    )
    sink = WitnessedSink(settings, Journal(folder / "accepted.jsonl"))
    bus = MessageBus()
    worker = SinkWorker(sink, bus.subscribe("mqtt"), tick_every_s=0.05)
    worker.open()
    thread = threading.Thread(target=worker.run, name="mqtt")
    thread.start()
    chance = random.Random(f"{pace.seed} {life}")
    number = 0
    while not stopping.is_set():
        for message in _episode(f"life{life}-{number}", chance):
            bus.publish(message)
            time.sleep(chance.uniform(0.0, pace.step_s))
        number += 1
    wait_until(lambda: sink.stats().waiting == 0, "all is delivered", SETTLE_S)
    worker.request_stop(Deadline(5.0))
    thread.join()


def _episode(episode_id: str, chance: random.Random) -> Iterator[EpisodeMessage]:
    onset = datetime.now(UTC)
    middle = [chance.choice(["updated", "escalated"]) for _ in range(chance.randrange(4))]
    for step, event_type in enumerate(["started", *middle, "ended"]):
        yield EpisodeMessage.model_validate(
            {
                "event_id": f"{episode_id}-{step}",
                "device": DEVICE,
                "time": onset + timedelta(seconds=step),
                "event_type": event_type,
                "episode_id": episode_id,
                "onset_at": onset,
                "detected_at": onset,
                "ended_at": onset + timedelta(seconds=step) if event_type == "ended" else None,
                "duration_s": step,
                "crying_s": step,
                "score": 0.9,
                "level_dbfs": -30.0,
            }
        )


# --- the consumer -----------------------------------------------------------------------------------


def run_consumer(port: int, folder: Path) -> None:
    """A hub that loses nothing: its session is kept by the broker, and an answer follows the disk."""
    journal = Journal(folder / "received.jsonl")
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id="consumer",
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=True,
    )
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 86_400

    def on_connect(client: paho.Client, *_: object) -> None:
        client.subscribe([(f"{BASE}/cry", 1), (f"{BASE}/late", 1)])

    def on_message(client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        topic = message.topic.rpartition("/")[2]
        journal.write({"topic": topic, **_facts(json.loads(message.payload))})
        client.ack(message.mid, message.qos)

    client.on_connect = on_connect
    client.on_subscribe = lambda *_: (folder / "subscribed").touch()
    client.on_message = on_message
    client.reconnect_delay_set(0.05, 0.2)
    client.connect_async(HOST, port, clean_start=False, properties=session)
    client.loop_forever(retry_first_connection=True)


# --- the killer -------------------------------------------------------------------------------------


@dataclass
class Stage:
    """The three processes, each of which may be killed and started at any time."""

    folder: Path
    pace: Pace
    broker: Mosquitto
    children: dict[str, Any] = field(default_factory=dict)
    lives: Counter[str] = field(default_factory=Counter)

    def start(self, name: str) -> None:
        self.lives[name] += 1
        if name == "broker":
            self.broker.start()
            return
        port = self.broker.port
        started: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
            "monitor": (run_monitor, (port, self.folder, self.lives[name], self.pace)),
            "consumer": (run_consumer, (port, self.folder)),
        }
        target, arguments = started[name]
        self.children[name] = FORK.Process(target=target, args=arguments, name=name)
        self.children[name].start()

    def kill(self, name: str) -> None:
        if name == "broker":
            self.broker.kill()
            return
        child = self.children.pop(name)
        assert child.is_alive(), f"the {name} ended by itself; see {self.folder}"
        child.kill()
        child.join()

    def is_up(self, name: str) -> bool:
        """The broker and the consumer are up at once; the monitor is when it can hear a signal."""
        return name != "monitor" or (self.folder / f"life-{self.lives[name]}").exists()

    def close(self) -> None:
        for child in self.children.values():
            child.kill()
            child.join()
        self.broker.kill()


def run(folder: Path, kills: int, pace: Pace) -> tuple[Counter[str], float]:
    """Kill, then let all recover and settle; how often each was killed, and how long it took."""
    chance = random.Random(pace.seed)
    broker = Mosquitto(folder / "broker", persistence=True, extra_lines=("max_queued_messages 10000",))
    stage = Stage(folder, pace, broker)
    began_s = time.monotonic()
    try:
        for name in ("broker", "consumer"):
            stage.start(name)
        wait_until((folder / "subscribed").exists, "the consumer has subscribed")
        stage.start("monitor")
        killed = kill_at_random(stage, kills, SHARES, pace.pause_s, chance)
        _settle(stage)
    finally:
        stage.close()
    return killed, time.monotonic() - began_s


def _settle(stage: Stage) -> None:
    monitor, life = stage.children["monitor"], stage.lives["monitor"]
    wait_until((stage.folder / f"life-{life}").exists, "the monitor can be told to end")
    monitor.terminate()  # it ends its episode and leaves when the broker has all
    monitor.join(2 * SETTLE_S)
    assert monitor.exitcode == 0, f"the monitor could not deliver all; see {stage.folder}"
    received = stage.folder / "received.jsonl"
    sizes: list[int] = []

    def quiet() -> bool:
        time.sleep(0.25)
        sizes.append(received.stat().st_size)
        return len(sizes) > 4 and len(set(sizes[-4:])) == 1

    wait_until(quiet, "the consumer has all that comes", SETTLE_S)


# --- the account ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    accepted_starts: int
    accepted_events: int
    lost: list[str]
    """Accepted starts, escalations and ends that never came, and episodes without an end."""
    doubled: list[str]
    """Episodes with two different starts or ends."""
    repeats: int
    """Deliveries of an event id that had come before: a consumer drops them by the id."""
    received: int
    late: int
    cut_short: int


def account(folder: Path) -> Account:
    accepted = {line["event_id"]: line for line in Journal.read(folder / "accepted.jsonl")}
    received = list(Journal.read(folder / "received.jsonl"))
    seen = {line["event_id"]: line for line in received}
    by_episode: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in seen.values():
        by_episode[line["episode_id"], line["event_type"]].add(line["event_id"])
    begun = {line["episode_id"] for line in accepted.values() if line["event_type"] == "started"}
    lost = [event_id for event_id in accepted if event_id not in seen]
    lost += [f"{episode} has no end" for episode in begun if not by_episode[episode, "ended"]]
    once = [place for place in by_episode if place[1] in ("started", "ended")]
    return Account(
        accepted_starts=len(begun),
        accepted_events=len(accepted),
        lost=lost,
        doubled=[" ".join(place) for place in once if len(by_episode[place]) > 1],
        repeats=len(received) - len(seen),
        received=len(seen),
        late=sum(line["topic"] == "late" for line in seen.values()),
        cut_short=sum(line["truncated"] for line in seen.values()),
    )


def table(killed: Counter[str], took_s: float, found: Account) -> str:
    rows = [
        *((f"kills of the {name}", killed[name]) for name in SHARES),
        ("kills in all", killed.total()),
        ("seconds", round(took_s)),
        ("episodes begun (accepted)", found.accepted_starts),
        ("events accepted", found.accepted_events),
        ("events received, by id", found.received),
        ("ends of episodes that a kill cut short", found.cut_short),
        ("events that came late", found.late),
        ("repeats that the id removes", found.repeats),
        ("DOUBLED starts or ends", len(found.doubled)),
        ("LOST", len(found.lost)),
    ]
    return "\n".join(f"{name:<40}{value:>8}" for name, value in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause-s", type=float, default=0.4, help="longest time between two kills")
    parser.add_argument("--step-s", type=float, default=0.06, help="longest time between two messages")
    parser.add_argument("--folder", type=Path, help="where journals and logs stay; not set: removed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        killed, took_s = run(folder, given.kills, Pace(given.seed, given.pause_s, given.step_s))
        found = account(folder)
    print(table(killed, took_s, found))
    for line in (*found.lost, *found.doubled)[:20]:
        print(f"  {line}")
    return 1 if found.lost or found.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
