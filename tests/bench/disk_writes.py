"""What an hour of the state folder costs a card: bytes and syncs, quiet and crying.

``python -m tests.bench.disk_writes`` plays an hour of messages as the service makes them, with its own pauses
but no waiting, into outbox, push's queue and history, and prints what the kernel was handed to write. As root
it does so on a loop-mounted ext4 and also prints what reached the block device. ``--hours 8`` prints memory
after each hour of crying instead.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from monitor.messages import EpisodeMessage, TelemetryMessage
from monitor.sinks import homeassistant, mqtt_events
from monitor.sinks.episode_ledger import EpisodeLedger
from monitor.sinks.history import HistorySettings, HistorySink
from monitor.sinks.hub_topics import Topics
from monitor.sinks.moment import Moment
from monitor.sinks.mqtt_settings import MqttSettings
from monitor.sinks.outbox import Outbox
from tests.faults import card
from tests.faults.card import SdCard

BEGAN: Final = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
HOUR_S: Final = 3600
CALM_EVERY_S: Final = 10
UPDATE_EVERY_S: Final = 2
ESCALATE_EVERY_S: Final = 60
BOUT_S: Final = 300
PATIENCE_S: Final = 60.0


@dataclass(slots=True)
class Clock:
    passed_s: float = 0.0

    def now(self) -> Moment:
        return Moment(BEGAN.timestamp() + self.passed_s, "bench", 10_000.0 + self.passed_s)

    def monotonic_s(self) -> float:
        return 10_000.0 + self.passed_s


def episode(kind: str, second: int, onset: int) -> EpisodeMessage:
    at = BEGAN + timedelta(seconds=second)
    return EpisodeMessage.model_validate(
        {
            "event_id": f"e{onset}-{kind}-{second}",
            "device": "nursery",
            "time": at,
            "event_type": kind,
            "episode_id": f"00000000-0000-4000-8000-{onset:012d}",
            "onset_at": BEGAN + timedelta(seconds=onset),
            "detected_at": BEGAN + timedelta(seconds=onset + 1),
            "ended_at": at if kind == "ended" else None,
            "duration_s": float(second - onset),
            "crying_s": float(second - onset),
            "score": 0.9,
            "level_dbfs": -30.0,
            "escalation": (second - onset) // ESCALATE_EVERY_S,
        }
    )


def telemetry(second: int) -> TelemetryMessage:
    return TelemetryMessage(
        event_id=f"t{second}",
        device="nursery",
        time=BEGAN + timedelta(seconds=second),
        level_dbfs=-50.0 - second % 7,
        peak_dbfs=-40.0,
        noise_floor_dbfs=-60.0,
        score=0.1,
        active=False,
        crying=False,
    )


def said_in(second: int, *, crying: bool) -> Iterator[EpisodeMessage | TelemetryMessage]:
    """The messages of one second: silence, or bouts of five minutes with ten seconds between."""
    if second % CALM_EVERY_S == 0:
        yield telemetry(second)
    if not crying:
        return
    into = second % BOUT_S
    onset = second - into
    if into == 1:
        yield episode("started", second, onset)
    elif into == BOUT_S - 10:
        yield episode("ended", second, onset)
    elif 1 < into < BOUT_S - 10 and into % ESCALATE_EVERY_S == 0:
        yield episode("escalated", second, onset)
    elif 1 < into < BOUT_S - 10 and into % UPDATE_EVERY_S == 0:
        yield episode("updated", second, onset)


def live(folder: Path, *, crying: bool, hours: int = 1, hourly: Callable[[], None] = lambda: None) -> None:
    """Hours of it: what is put is delivered a second later, and the broker has it for sure."""
    clock = Clock()
    topics = Topics.of(MqttSettings("localhost", "nursery"))
    outbox = Outbox(
        folder / "outbox-mqtt.sqlite", now=clock.now, monotonic_s=clock.monotonic_s, within_s=PATIENCE_S
    )
    ledger = EpisodeLedger(outbox, monotonic_s=clock.monotonic_s)
    history = HistorySink(HistorySettings(folder), now=clock.now, within_s=PATIENCE_S)
    outbox.open(within_s=PATIENCE_S)
    history.open()
    for second in range(hours * HOUR_S):
        clock.passed_s = float(second)
        if second and second % HOUR_S == 0:
            hourly()
        outbox.done(*(entry.item.key for entry in outbox.pending()))
        for message in said_in(second, crying=crying):
            change = ledger.change(message)
            made = homeassistant.publications(message, topics, event_expiry_s=300)
            items = mqtt_events.items(message, made, 300)
            outbox.put(*items, remember=change.remember, forget=change.forget)
            history.handle(message)
        history.tick()
        outbox.tick()
    outbox.close(PATIENCE_S)
    history.close(PATIENCE_S)


def written_by_this_process() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def print_memory() -> None:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    print(f"resident: {pages * resource.getpagesize() / 1000:.0f} kB", flush=True)


def _sectors(device: str) -> int:
    return int(Path(f"/sys/block/{device}/stat").read_text(encoding="ascii").split()[6])


def _device_of(folder: Path) -> str:
    done = subprocess.run(
        ["findmnt", "--noheadings", "--output", "SOURCE", "--target", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(done.stdout.strip()).name


@contextlib.contextmanager
def somewhere() -> Iterator[tuple[Path, str]]:
    """A folder to write to, on a card of its own where that can be had; and the card's block device."""
    with tempfile.TemporaryDirectory() as folder:
        if card.missing():
            yield Path(folder), ""
            return
        with SdCard(Path(folder) / "sd") as disk:
            yield disk.path, _device_of(disk.path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hours", type=int, default=0, help="print the memory after each of so many hours")
    parser.add_argument("--one", choices=["quiet", "crying"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hours:
        with tempfile.TemporaryDirectory() as folder:
            live(Path(folder), crying=True, hours=arguments.hours + 1, hourly=print_memory)
        return
    if arguments.one is None:
        for kind in ("quiet", "crying"):  # each in a process of its own: the kernel counts by process
            subprocess.run([sys.executable, "-m", "tests.bench.disk_writes", "--one", kind], check=True)
        return
    with somewhere() as (folder, device):
        before, sectors = written_by_this_process(), _sectors(device) if device else 0
        live(folder, crying=arguments.one == "crying")
        os.sync()
        told = f"{(written_by_this_process() - before) / 1e6:.1f} MB handed to the kernel"
        if device:
            told += (
                f", {(_sectors(device) - sectors) * 512 / 1e6:.1f} MB at the card (ext4, journal included)"
            )
        sizes = ", ".join(
            f"{file.name} {file.stat().st_size // 1024} kB"
            for file in sorted(folder.iterdir())
            if file.is_file()
        )
        print(f"an hour {arguments.one}: {told}; {sizes}")


if __name__ == "__main__":
    main()
