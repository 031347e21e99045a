"""Kill the monitor and the parents' service at random moments, and count alerts lost or doubled.

``python -m tests.soak.push_kills --kills 500 --seed 1``

The monitor is a real process with bus, sink worker, push sink and outbox, and Apprise before three channels:
two webhooks, of which one is the second step, and one shaped like ntfy. The receiver of all three is a
process of its own, which answers 500, hangs up before or after it has the alert on disk, and is slow at
times. Both are killed with SIGKILL. In the end both run undisturbed until nothing waits, leave, and only
then is counted; see :mod:`tests.soak.push_account` for what counts as promised.
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
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from typing_extensions import override

from monitor.commands import Request
from monitor.events.bus import MessageBus
from monitor.messages import AnyMessage
from monitor.service.lifecycle import Deadline
from monitor.service.worker import SinkWorker
from monitor.sinks import push
from monitor.sinks.outbox import Outbox
from monitor.sinks.push_channels import Channel
from monitor.sinks.push_notes import Notification, Now
from monitor.sinks.push_queue import PushQueue
from monitor.sinks.push_settings import ChannelSettings, PushSettings
from monitor.sinks.push_state import PolicyState
from tests.broker import HOST, wait_until
from tests.sinks.receivers import free_port
from tests.soak.push_account import Account, account
from tests.soak.push_script import DEVICE, Script
from tests.soak.victims import FORK, Journal, kill_at_random, log_to

CHANNELS = ("Mum", "Dad", "Gran")
SETTLE_S = 60.0
SHARES = {"monitor": 0.6, "receiver": 0.4}
REPEAT_EVERY_S = 0.3
NEXT_STEP_AFTER_S = 0.2
MISBEHAVIOUR = {"answer": 0.7, "refuse": 0.1, "forget": 0.1, "hang up": 0.1}
LONGEST_ANSWER_S = 0.05


@dataclass(frozen=True)
class Pace:
    seed: int
    pause_s: float
    """Longest time between two kills."""
    step_s: float
    """Longest time between two messages of the monitor."""


# --- the monitor ------------------------------------------------------------------------------------


class WitnessedQueue(PushQueue):
    """Writes down what it was given before and after it is on disk, and what is taken back.

    It waits for the disk for as long as that takes: what the service delivers from memory while a busy disk
    keeps it waiting is no promise, for a kill just then forgets it.
    """

    def __init__(self, folder: Path, journal: Journal, at_s: Callable[[], float]) -> None:
        self._disk = Outbox(folder / push.OUTBOX_FILE, within_s=SETTLE_S)
        super().__init__(self._disk, CHANNELS)
        self._journal = journal
        self._at_s = at_s

    @override
    def open(self) -> None:
        self._disk.open(within_s=SETTLE_S)

    @override
    def put(self, notifications: Iterable[Notification], state: PolicyState | None = None) -> None:
        given = tuple(notifications)
        for one in given:
            self._journal.write({"did": "raising", "at_s": self._at_s(), **asdict(one)})
        super().put(given, state)
        for one in given:
            self._journal.write({"did": "raised", "key": one.key})

    @override
    def withdraw(self, tag: str) -> list[str]:
        self._journal.write({"did": "withdrawing", "tag": tag})
        return super().withdraw(tag)


class WitnessedSink(push.PushSink):
    """Writes down what it is given, and again when it has accepted it."""

    def __init__(self, settings: PushSettings, folder: Path, life: int) -> None:
        super().__init__(settings, inbox=_NobodyAsks(), now=self._read_clock)
        # A fault is named by the second in which it began, and no two lives share one.
        self._ahead = timedelta(seconds=life)
        self._journal = Journal(folder / "promised.jsonl")
        self._queue = WitnessedQueue(folder, self._journal, lambda: self._at_s)
        self._at_s = 0.0
        self.handled = ""

    def _read_clock(self) -> Now:
        now = Now(time.monotonic(), datetime.now().astimezone() + self._ahead)
        if threading.current_thread().name == self.name:  # the channels' threads look at it as well
            self._at_s = now.monotonic_s
        return now

    @override
    def handle(self, message: AnyMessage) -> None:
        facts = _facts(message)
        self._journal.write({"did": "handling", **facts})
        super().handle(message)
        self._journal.write({"did": "handled", **facts})
        self.handled = message.event_id


class _NobodyAsks:
    def put(self, request: Request) -> None:
        raise AssertionError(request)


def _facts(message: AnyMessage) -> dict[str, Any]:
    values = message.model_dump(mode="json")
    names = ("kind", "event_id", "event_type", "episode_id", "state", "microphone_ok")
    return {name: values[name] for name in names if name in values}


def run_monitor(port: int, folder: Path, life: int, pace: Pace) -> None:
    log_to(folder / "monitor.log", as_json=True)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    # The life is in every title: ntfy carries no key, and its alerts have to be told apart by their text.
    sink = WitnessedSink(settings(port, folder, f"Life {life}"), folder, life)
    bus = MessageBus()
    worker = SinkWorker(sink, bus.subscribe(sink.name), tick_every_s=0.05)
    worker.open()
    thread = threading.Thread(target=worker.run, name=sink.name)
    thread.start()
    (folder / f"monitor-{life}").touch()
    chance = random.Random(f"{pace.seed} {life}")
    latest = ""
    for message in Script(life, chance).messages(stopping):
        assert thread.is_alive(), "the sink's thread has ended"
        bus.publish(message)
        latest = message.event_id
        time.sleep(chance.uniform(0.0, pace.step_s))
    wait_until(lambda: sink.handled == latest, "all is handled", SETTLE_S)
    wait_until(lambda: sink.delivery().waiting == 0, "all is delivered", SETTLE_S)
    worker.request_stop(Deadline(5.0))
    thread.join()


def settings(port: int, folder: Path, device_name: str) -> PushSettings:
    mum, dad, gran = CHANNELS
    return PushSettings(
        DEVICE,
        device_name,
        (
            ChannelSettings(mum, f"json://{HOST}:{port}/{mum}"),
            ChannelSettings(dad, f"ntfy://{HOST}:{port}/{dad}"),
            ChannelSettings(gran, f"json://{HOST}:{port}/{gran}", step=2),
        ),
        repeat_every_s=REPEAT_EVERY_S,
        next_step_after_s=NEXT_STEP_AFTER_S,
        fault_after_s=0.0,
        state_dir=folder,
    )


# --- the receiver -----------------------------------------------------------------------------------


def run_receiver(port: int, folder: Path, life: int, pace: Pace, behaves: bool) -> None:
    """Keeps each alert on disk before it answers. Told to end, it finishes what it is answering."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    journal, lock = Journal(folder / "received.jsonl"), threading.Lock()
    chance = random.Random(f"{pace.seed} receiver {life}")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
            with lock:
                (what,) = chance.choices(list(MISBEHAVIOUR), list(MISBEHAVIOUR.values()))
                pause_s = chance.uniform(0.0, LONGEST_ANSWER_S)
                what = "answer" if behaves else what
                journal.write({"what": what, **_alert(self.path, body)})
            time.sleep(pause_s)
            self.close_connection = True
            if what in ("answer", "refuse"):
                self.send_response(200 if what == "answer" else 500)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

        @override
        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False
        request_queue_size = 50

        @override
        def handle_error(self, *_: object) -> None:
            """A sender that was killed does not hear the answer."""

    server = Server((HOST, port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    (folder / f"receiver-{life}").touch()
    stopping.wait()
    server.shutdown()
    thread.join()
    server.server_close()  # waits for the threads that answer


def _alert(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A webhook has its channel in the path and brings the key; ntfy's body has the topic and no key."""
    channel = body.get("topic") or path.strip("/")
    return {"channel": channel, "title": body["title"], "text": body["message"], "key": body.get("key", "")}


# --- the killer -------------------------------------------------------------------------------------


@dataclass
class Stage:
    """Both processes, each of which may be killed and started at any time."""

    folder: Path
    pace: Pace
    port: int = field(default_factory=free_port)
    behaves: bool = False
    children: dict[str, Any] = field(default_factory=dict)
    lives: Counter[str] = field(default_factory=Counter)

    def start(self, name: str) -> None:
        self.lives[name] += 1
        about = (self.port, self.folder, self.lives[name], self.pace)
        started: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
            "monitor": (run_monitor, about),
            "receiver": (run_receiver, (*about, self.behaves)),
        }
        target, arguments = started[name]
        self.children[name] = FORK.Process(target=target, args=arguments, name=name)
        self.children[name].start()

    def kill(self, name: str) -> None:
        child = self.children.pop(name)
        assert child.is_alive(), f"the {name} ended by itself; see {self.folder}"
        child.kill()
        child.join()

    def is_up(self, name: str) -> bool:
        return (self.folder / f"{name}-{self.lives[name]}").exists()

    def end(self, name: str) -> None:
        """Let it finish what it has to do."""
        child = self.children[name]
        child.terminate()
        child.join(3 * SETTLE_S)
        assert child.exitcode == 0, f"the {name} could not end: {child.exitcode}; see {self.folder}"

    def close(self) -> None:
        for child in self.children.values():
            child.kill()
            child.join()


def run(folder: Path, kills: int, pace: Pace) -> tuple[Counter[str], float]:
    """Kill, then let both recover and settle; how often each was killed, and how long it took."""
    for channel in settings(1, folder, DEVICE).channels:
        Channel(channel).check()  # loads Apprise here, and not in each child
    stage = Stage(folder, pace)
    began_s = time.monotonic()
    try:
        stage.start("receiver")
        stage.start("monitor")
        killed = kill_at_random(stage, kills, SHARES, pace.pause_s, random.Random(pace.seed))
        _settle(stage)
    finally:
        stage.close()
    return killed, time.monotonic() - began_s


def _settle(stage: Stage) -> None:
    stage.kill("receiver")
    stage.behaves = True
    stage.start("receiver")
    for name in SHARES:
        wait_until(partial(stage.is_up, name), f"the {name} can be told to end")
    stage.end("monitor")  # it ends its episode and leaves when nothing waits
    stage.end("receiver")  # and only now nothing more can be written down


# --- the result -------------------------------------------------------------------------------------


def table(killed: Counter[str], took_s: float, found: Account) -> str:
    rows = [
        *((f"kills of the {name}", killed[name]) for name in SHARES),
        ("kills in all", killed.total()),
        ("seconds", round(took_s)),
        *found.figures.items(),
        ("DOUBLED", len(found.doubled)),
        ("LOST", len(found.lost)),
    ]
    return "\n".join(f"{name:<56}{value:>8}" for name, value in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause-s", type=float, default=0.9, help="longest time between two kills")
    parser.add_argument("--step-s", type=float, default=0.06, help="longest time between two messages")
    parser.add_argument("--folder", type=Path, help="where journals and logs stay; not set: removed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        killed, took_s = run(folder, given.kills, Pace(given.seed, given.pause_s, given.step_s))
        found = account(folder, REPEAT_EVERY_S)
    print(table(killed, took_s, found))
    for line in (*found.lost, *found.doubled)[:20]:
        print(f"  {line}")
    return 1 if found.lost or found.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
