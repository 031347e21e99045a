"""Half an hour of the real thing in real time, with the link and the microphone lost on the way.

``python -m tests.soak.live --minutes 30``

``cradlewatch run`` is a process of its own; the microphone a PulseAudio daemon that is fed a quiet room and a
cry now and then; the broker a real Mosquitto. The broker is away twice for ten seconds and so is the
microphone's daemon (SIGKILL). Memory, descriptors, threads and CPU of the service and of its capture child
are read from /proc, the rest from the service's own status socket. Public cries are played where
$CRADLEWATCH_DATA has them.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from typing_extensions import override

from monitor.errors import MonitorError
from monitor.service.status_socket import NAME, ask
from monitor.types import samples
from tests.bench.live_cries import BACKGROUND_S, LiveCry, live_cries, room_noise, to_int16
from tests.bench.process_cost import children
from tests.broker import Mosquitto, Subscriber
from tests.cli.programs import Program
from tests.soak.footprint import Footprint, sizes
from tests.soak.trend import FEWEST, slope
from tests.virtual_microphone import ABSENT, FEED_S, VirtualMicrophone

DEVICE: Final = "live"
AWAY_S: Final = 10.0
SAMPLE_EVERY_S: Final = 5.0
LOOK_EVERY_S: Final = 0.25
CRY_EVERY_S: Final = (45.0, 100.0)
QUIET_AROUND_S: Final = 40.0
"""No cry so close to a disturbance: a hub that has not yet come back hears no event."""
PLAN: Final = ((0.2, "broker"), (0.4, "microphone"), (0.6, "broker"), (0.8, "microphone"))
"""When, as a share of the whole, and who is away."""


@dataclass
class Disturbance:
    """``noticed_s`` and ``recovered_s`` count from the loss and from the return; None: never."""

    who: str
    at_s: float
    away_s: float = 0.0
    noticed_s: float | None = None
    recovered_s: float | None = None
    reason: str = ""


class CountedMicrophone(VirtualMicrophone):
    """Knows how much its feeder has fed: on a busy machine that is less than the time that passed."""

    background_chunks = 0

    @override
    def restart(self) -> None:
        super().restart()
        feeder = self._feeder
        assert feeder is not None
        feeder._background = self._counted(feeder._background)

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.background_chunks += 1
            yield chunk


@dataclass
class Sample:
    at_s: float
    fed_s: float
    service: Footprint
    child: tuple[int, Footprint] | None
    counters: dict[str, float]
    state_bytes: dict[str, int]


@dataclass
class Record:
    samples: list[Sample] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    health: list[tuple[float, str, str]] = field(default_factory=list)
    cries: int = 0
    cry_seconds: float = 0.0


class Soak:
    """The parts, and what was seen of them."""

    def __init__(
        self,
        folder: Path,
        program: Program,
        microphone: CountedMicrophone,
        broker: Mosquitto,
        cries: list[LiveCry],
        seed: int,
    ) -> None:
        self._state = folder / "state" / DEVICE
        self._program = program
        self._microphone = microphone
        self._broker = broker
        self._cries = cries
        self._rng = np.random.default_rng(seed)
        self._began_s = time.monotonic()
        self._next_sample_s = 0.0
        self.record = Record()

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began_s

    def wait_for_audio(self) -> None:
        """Count from the moment at which it listens and reaches the hub."""
        if not self._look_until(lambda report: report["state"] == "ok", 60.0):
            raise AssertionError(f"it does not listen: {self._program.err}")
        self._began_s = time.monotonic()
        self.record = Record()

    def run(self, length_s: float) -> None:
        plan = [(share * length_s, who) for share, who in PLAN]
        next_cry_s = float(self._rng.uniform(*CRY_EVERY_S))
        while self.now_s < length_s:
            if plan and self.now_s >= plan[0][0]:
                self._disturb(plan.pop(0)[1])
                next_cry_s = self.now_s + QUIET_AROUND_S
            elif self.now_s >= next_cry_s:
                if not plan or self.now_s < plan[0][0] - QUIET_AROUND_S:
                    self._cry()
                next_cry_s = self.now_s + float(self._rng.uniform(*CRY_EVERY_S))
            self._look()
            time.sleep(LOOK_EVERY_S)
        # An episode that is open now shall end before all is counted.
        self._look_until(lambda _report: False, QUIET_AROUND_S)

    def _cry(self) -> None:
        cry = self._cries[self.record.cries % len(self._cries)]
        self._microphone.feed(cry.samples, wait=False)
        self.record.cries += 1
        # Whole chunks of it are fed.
        self.record.cry_seconds += math.ceil(len(cry.samples) / samples(FEED_S)) * FEED_S

    def _disturb(self, who: str) -> None:
        """Take it away for ten seconds and see when that is noticed and when it is over."""
        seen = Disturbance(who, self.now_s)
        self.record.disturbances.append(seen)
        {"broker": self._broker.stop, "microphone": self._microphone.kill}[who]()
        lost_s = self.now_s
        is_told = _tells_of(who)
        if self._look_until(lambda report: bool(is_told(report)), AWAY_S):
            seen.noticed_s = self.now_s - lost_s
            seen.reason = is_told(self._report())
        self._look_until(lambda _report: False, lost_s + AWAY_S - self.now_s)
        {"broker": self._broker.start, "microphone": self._microphone.restart}[who]()
        back_s, seen.away_s = self.now_s, self.now_s - lost_s
        if self._look_until(lambda report: not is_told(report), 60.0):
            seen.recovered_s = self.now_s - back_s

    def _look_until(self, condition: Callable[[dict[str, Any]], bool], timeout_s: float) -> bool:
        until_s = self.now_s + timeout_s
        while self.now_s < until_s:
            if condition(self._look()):
                return True
            time.sleep(LOOK_EVERY_S)
        return False

    def _report(self) -> dict[str, Any]:
        try:
            return ask(self._state / NAME)
        except MonitorError:
            return {"state": "no answer", "reasons": [], "counters": {}}

    def _look(self) -> dict[str, Any]:
        report = self._report()
        health = (report["state"], "; ".join(report["reasons"]))
        if not self.record.health or self.record.health[-1][1:] != health:
            self.record.health.append((self.now_s, *health))
        if self.now_s >= self._next_sample_s and report["counters"]:
            self._next_sample_s = self.now_s + SAMPLE_EVERY_S
            self.record.samples.append(
                Sample(
                    self.now_s,
                    self._fed_s(),
                    Footprint.of(self._program.pid),
                    self._child(),
                    report["counters"],
                    sizes(self._state),
                )
            )
        return report

    def _fed_s(self) -> float:
        """Exact to a cry that is being played."""
        return self._microphone.background_chunks * FEED_S + self.record.cry_seconds

    def _child(self) -> tuple[int, Footprint] | None:
        for pid in children(self._program.pid):
            try:
                return pid, Footprint.of(pid)
            except (OSError, KeyError):  # it is being replaced
                continue
        return None


def _tells_of(who: str) -> Callable[[dict[str, Any]], str]:
    """The reason for which the service is not well, as far as that one is concerned."""
    if who == "broker":
        return lambda report: report.get("sinks", {}).get("mqtt", "")
    return lambda report: next((r for r in report["reasons"] if "microphone" in r.lower()), "")


# --- the account ------------------------------------------------------------------------------------


def rows(record: Record, folder: Path, subscriber: Subscriber, program: Program) -> Iterator[tuple[str, str]]:
    first, last = record.samples[0], record.samples[-1]
    yield "minutes sampled, every 5 s", f"{(last.at_s - first.at_s) / 60:.1f}"
    yield from _process_rows("service", [(s.at_s, s.service) for s in record.samples])
    lives: dict[int, list[tuple[float, Footprint]]] = {}
    for sample in record.samples:
        if sample.child is not None:
            lives.setdefault(sample.child[0], []).append((sample.at_s, sample.child[1]))
    yield "capture child, lives", str(len(lives))
    yield from _process_rows("capture child, longest life", max(lives.values(), key=len))
    yield from _audio_rows(first, last, record)
    kept = _episodes(folder / "messages.jsonl")
    yield "cries played", f"{record.cries} ({record.cry_seconds:.0f} s)"
    yield "episodes started / ended, written to the file", f"{kept['started']} / {kept['ended']}"
    heard = Counter({m["event_id"]: m["event_type"] for m in map(json.loads, _on_cry(subscriber))}.values())
    yield "episodes started / ended, at the hub", f"{heard['started']} / {heard['ended']}"
    for seen in record.disturbances:
        yield (
            f"{seen.who} away at {seen.at_s / 60:.1f} min for {seen.away_s:.1f} s",
            f"noticed {_after(seen.noticed_s)}, well {_after(seen.recovered_s)} being back: {seen.reason}",
        )
    for name, before in first.state_bytes.items():
        sizes_seen = [s.state_bytes.get(name, 0) for s in record.samples]
        yield (
            f"{name}, kB first / last / largest",
            (f"{before / 1e3:.1f} / {sizes_seen[-1] / 1e3:.1f} / {max(sizes_seen) / 1e3:.1f}"),
        )
    for at_s, state, reasons in record.health:
        yield f"health at {at_s / 60:.2f} min", f"{state} {reasons}"
    for event, count in _warnings(program).most_common():
        yield f"log: {event}", str(count)


def _after(value_s: float | None) -> str:
    return "NEVER" if value_s is None else f"{value_s:.1f} s after"


def _process_rows(name: str, seen: list[tuple[float, Footprint]]) -> Iterator[tuple[str, str]]:
    # The first tenth is warm-up: caches, the first episode, buffers of the models.
    warm = seen[len(seen) // 10 :]
    memory = [footprint.rss_kb for _, footprint in seen]
    yield (
        f"{name}: RSS, MB first / last / highest",
        (f"{memory[0] / 1e3:.1f} / {memory[-1] / 1e3:.1f} / {max(memory) / 1e3:.1f}"),
    )
    if len(warm) >= FEWEST:
        growth = slope([at_s / 3600 for at_s, _ in warm], [f.rss_kb for _, f in warm])
        yield f"{name}: RSS, kB/h after the first tenth (95 %)", str(growth)
    for what in ("files", "threads"):
        counts = [getattr(footprint, what) for _, footprint in seen]
        yield (
            f"{name}: {what}, first / last / range",
            (f"{counts[0]} / {counts[-1]} / {min(counts)}-{max(counts)}"),
        )
    spent_s = seen[-1][1].cpu_s - seen[0][1].cpu_s
    yield f"{name}: CPU, s/h", f"{3600 * spent_s / (seen[-1][0] - seen[0][0]):.1f}"


def _audio_rows(first: Sample, last: Sample, record: Record) -> Iterator[tuple[str, str]]:
    passed_s = last.at_s - first.at_s
    audio_s = last.counters["audio_s"] - first.counters["audio_s"]
    lost_s = last.counters["audio_lost_s"] - first.counters["audio_lost_s"]
    away_s = sum(d.away_s for d in record.disturbances if d.who == "microphone")
    fed_s = last.fed_s - first.fed_s
    yield "fed to the microphone and away, less time passed, ms", f"{1000 * (fed_s + away_s - passed_s):+.0f}"
    yield "stream (audio + gaps) less time passed, ms", f"{1000 * (audio_s - passed_s):+.0f}"
    yield "audio lost as gaps, s (microphone was away, s)", f"{lost_s:.1f} ({away_s:.1f})"
    yield (
        "gaps, overflows, capture restarts",
        " / ".join(
            f"{last.counters[name] - first.counters[name]:.0f}"
            for name in ("gaps", "overflows", "capture_restarts")
        ),
    )
    lags = [s.counters["detector_lag_s"] for s in record.samples]
    yield "detector lag, s: median / highest", f"{np.median(lags):.3f} / {max(lags):.3f}"
    yield "slowest step, ms", f"{last.counters['slowest_step_ms']:.0f}"


def _episodes(path: Path) -> Counter[str]:
    messages = map(json.loads, path.read_text().splitlines())
    return Counter(m["event_type"] for m in messages if m["kind"] == "episode")


def _on_cry(subscriber: Subscriber) -> list[str]:
    base = f"cradlewatch/{DEVICE}"
    return subscriber.on(f"{base}/cry") + subscriber.on(f"{base}/late")


def _warnings(program: Program) -> Counter[str]:
    logged = Counter[str]()
    for line in program.err:
        try:
            entry = json.loads(line)
        except ValueError:
            logged[f"NO LOG LINE: {line}"] += 1
            continue
        if entry.get("level") in {"warning", "error", "critical"}:
            logged[f"{entry['level']} {entry.get('event')}"] += 1
    return logged


# --- the command ------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="public audio data (default: $CRADLEWATCH_DATA)")
    parser.add_argument("--json", type=Path, help="write every sample there")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="handed on to cradlewatch run"
    )
    given = parser.parse_args()
    if ABSENT:
        print(ABSENT)
        return 2
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        origin, record, table, code = _soak(Path(temporary), given)
    print(f"cries: {origin}")
    width = max(len(name) for name, _ in table)
    for name, value in table:
        print(f"{name:{width}}  {value}")
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(record)) + "\n")
    unseen = [d for d in record.disturbances if d.noticed_s is None or d.recovered_s is None]
    return 1 if code or unseen else 0


def _soak(folder: Path, given: argparse.Namespace) -> tuple[str, Record, list[tuple[str, str]], int]:
    background = to_int16(room_noise(BACKGROUND_S, np.random.default_rng(given.seed)))
    origin, cries = live_cries(12, given.data, given.seed)
    with (
        CountedMicrophone(folder, "pipe", background=background) as microphone,
        Mosquitto(folder / "mosquitto", persistence=True) as broker,
        Subscriber(broker.port) as subscriber,
        Program(*_arguments(folder, broker, given.set), **microphone.environment) as program,
    ):
        soak = Soak(folder, program, microphone, broker, cries, given.seed)
        soak.wait_for_audio()
        soak.run(given.minutes * 60)
        table = list(rows(soak.record, folder, subscriber, program))
        program.signal(signal.SIGTERM)
        code = program.ended()
        table.append(("exit code after SIGTERM", str(code)))
    return origin, soak.record, table, code


def _arguments(folder: Path, broker: Mosquitto, more: list[str]) -> list[str]:
    settings = [
        f"device.id={DEVICE}",
        f"service.state_dir={folder / 'state'}",
        f"jsonl.path={folder / 'messages.jsonl'}",
        f"mqtt.host={broker.host}",
        f"mqtt.port={broker.port}",
        "log.format=json",
        *more,
    ]
    return ["run", *(part for setting in settings for part in ("--set", setting))]


if __name__ == "__main__":
    sys.exit(main())
