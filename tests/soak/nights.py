"""Two days of audio through the real service in minutes: what grows, what drifts, what is lost.

``python -m tests.soak.nights --hours 48``

The service is a process of its own, made by ``build_service`` with a source that plays recordings at full
speed and loses 7 s behind every third; it writes to a real Mosquitto, its outbox, its state folder and a
file of lines. ``--folder`` names folders of recordings (those of ``models.training.nights`` fit), and so
does $CRADLEWATCH_NIGHTS, separated by colons. Without either, quarters of an hour are synthesised. Each
recording is scanned by itself as well, and each episode has to stand in the stream where the scan has it.

Wall time is as fast as the stream: what the service does by its clock (heartbeats, pruning) does not come
more often.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import numpy as np
import soundfile

from monitor.cli.scanner import ScanRequest, scan_recording
from monitor.detect.settings import DetectorSettings
from monitor.errors import MonitorError
from monitor.service.status_socket import NAME, ask
from monitor.types import SAMPLE_RATE_HZ, seconds
from tests.broker import Mosquitto, Subscriber
from tests.sinks.receivers import HttpReceiver, free_port
from tests.soak.footprint import Footprint, sizes
from tests.soak.quarters import expected_samples, synthesised
from tests.soak.trend import FEWEST, Slope, slope

DEVICE: Final = "soak"
FOLDERS: Final = "CRADLEWATCH_NIGHTS"
SAME_WITHIN_S: Final = 0.5
"""The grid of hops lies elsewhere in the stream than in the recording alone: two hops of 240 ms."""
ROOT: Final = Path(__file__).parents[2]


# --- the soak ----------------------------------------------------------------------------------------


@dataclass
class Sample:
    audio_s: float
    footprint: Footprint
    state_bytes: dict[str, int]
    queue_depth: float


@dataclass
class Run:
    took_s: float = 0.0
    code: int = -1
    samples: list[Sample] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    hub_starts: int = 0
    hub_ends: int = 0
    pushed: int = 0


def soak(
    folder: Path, files: Sequence[Path], settings: Sequence[tuple[str, str]], *, everything: bool = False
) -> Run:
    """Play ``files`` and watch; the accounts lie in ``folder`` afterwards."""
    run = Run()
    metrics_port = free_port() if everything else None
    with (
        HttpReceiver() as phone,
        Mosquitto(folder / "mosquitto", persistence=True) as broker,
        Subscriber(broker.port, f"cradlewatch/{DEVICE}/cry") as hub,
        (folder / "log").open("w") as log,
    ):
        (folder / "plan.json").write_text(
            json.dumps(
                {
                    "files": [str(path) for path in files],
                    "settings": [
                        *_settings(folder, broker),
                        *(_everything(folder, phone, metrics_port) if metrics_port else []),
                        *settings,
                    ],
                }
            )
        )
        began_s = time.monotonic()
        command = [sys.executable, "-m", "tests.soak.night_service", str(folder / "plan.json")]
        environment = os.environ | {"CRADLEWATCH_CONFIG": os.devnull}
        with subprocess.Popen(command, cwd=ROOT, stderr=log, env=environment) as service:
            try:
                while service.poll() is None:
                    _sample(run, service.pid, folder / "state" / DEVICE, metrics_port)
                    time.sleep(0.5)
            finally:
                service.kill()
        run.took_s, run.code = time.monotonic() - began_s, service.returncode
        events = {m["event_id"]: m["event_type"] for m in map(json.loads, (r.payload for r in hub.received))}
        run.hub_starts = list(events.values()).count("started")
        run.hub_ends = list(events.values()).count("ended")
        run.pushed = len({received.json["key"] for received in phone.received})
    run.log = (folder / "log").read_text().splitlines()
    return run


def _settings(folder: Path, broker: Mosquitto) -> list[tuple[str, str]]:
    return [
        ("device.id", DEVICE),
        ("detect.model_form", "int8"),  # as scan has it
        ("service.state_dir", str(folder / "state")),
        ("service.stop_timeout_s", "30"),
        ("jsonl.path", str(folder / "messages.jsonl")),
        ("mqtt.host", broker.host),
        ("mqtt.port", str(broker.port)),
    ]


def _everything(folder: Path, phone: HttpReceiver, metrics_port: int) -> list[tuple[str, str]]:
    """What a household may switch on besides: each holds memory of its own."""
    channels = folder / "channels.toml"
    channels.touch(mode=0o600)
    channels.write_text(f'[[channel]]\nname = "phone"\nurl = "json://{phone.address}/"\n')
    return [
        ("clips.enabled", "true"),
        ("metrics.listen", f"127.0.0.1:{metrics_port}"),
        ("push.channels_file", str(channels)),
    ]


def _sample(run: Run, pid: int, state: Path, metrics_port: int | None) -> None:
    try:
        counters = ask(state / NAME)["counters"]
        if metrics_port is not None:
            urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=5).close()
        footprint = Footprint.of(pid)
    except (MonitorError, OSError, KeyError):  # not yet, or no more
        return
    run.samples.append(Sample(counters["audio_s"], footprint, sizes(state), counters["queue_depth"]))


# --- the account -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Positions:
    """Episodes of the stream beside those of the recordings alone."""

    expected: int
    found: int
    matched: int
    furthest_s: float
    drift: Slope | None
    """Milliseconds in an hour of audio."""


def compare(folder: Path, files: Sequence[Path]) -> Positions:
    """Each scan's episodes, put where their recording began, against those that the service told."""
    account = json.loads((folder / "account.json").read_text())
    lines = map(json.loads, (folder / "episodes.jsonl").read_text().splitlines())
    onsets = np.array([line["onset"] / SAMPLE_RATE_HZ for line in lines if line["kind"] == "started"])
    request = ScanRequest(DetectorSettings(model_form="int8"), None, 0)
    scans = {path: scan_recording(path, request) for path in dict.fromkeys(files)}
    expected = [
        seconds(begin) + episode.onset_s
        for path, begin in zip(files, account["begins"], strict=True)
        for episode in scans[path].episodes
    ]
    offsets = [float(min(onsets - at_s, key=abs)) if len(onsets) else math.inf for at_s in expected]
    near = [
        (at_s, offset) for at_s, offset in zip(expected, offsets, strict=True) if abs(offset) <= SAME_WITHIN_S
    ]
    drift = None
    if len(near) >= FEWEST:
        drift = slope([at_s / 3600 for at_s, _ in near], [1000 * offset for _, offset in near])
    furthest_s = max((abs(offset) for _, offset in near), default=0.0)
    return Positions(len(expected), len(onsets), len(near), furthest_s, drift)


def rows(run: Run, folder: Path, files: Sequence[Path], positions: Positions) -> Iterator[tuple[str, str]]:
    account = json.loads((folder / "account.json").read_text())
    audio, lost = expected_samples(files)
    hours = (audio + lost) / SAMPLE_RATE_HZ / 3600
    yield "recordings / of them different", f"{len(files)} / {len(set(files))}"
    yield "audio, hours", f"{hours:.2f}"
    yield "took, s (times real time)", f"{run.took_s:.0f} ({hours * 3600 / run.took_s:.0f})"
    yield "exit code", str(run.code)
    yield "samples delivered / by the headers", f"{account['delivered']} / {audio}"
    yield "samples in gaps / taken away", f"{account['lost']} / {lost}"
    yield "samples unaccounted for", str(unaccounted(account, files))
    kept = [json.loads(line) for line in (folder / "messages.jsonl").read_text().splitlines()]
    kinds = [message.get("event_type") for message in kept if message["kind"] == "episode"]
    told = [json.loads(line)["kind"] for line in (folder / "episodes.jsonl").read_text().splitlines()]
    for kind, at_hub in (("started", run.hub_starts), ("ended", run.hub_ends)):
        yield (
            f"episodes {kind}: detector / file / hub",
            (f"{told.count(kind)} / {kinds.count(kind)} / {at_hub}"),
        )
    if run.pushed:
        yield "alerts that the phone received", str(run.pushed)
    yield "episodes by scans of each recording alone", str(positions.expected)
    yield f"of them in the stream within {SAME_WITHIN_S} s", str(positions.matched)
    yield "furthest of those, s", f"{positions.furthest_s:.3f}"
    yield "drift of onsets, ms in an hour of audio (95 %)", str(positions.drift)
    yield from _footprint_rows(run.samples)
    yield "lines in the log (warnings and worse)", str(len(run.log))
    for line in run.log[:5]:
        yield "log", line[:200]


def unaccounted(account: dict[str, Any], files: Sequence[Path]) -> int:
    """Samples that the stream should have and nobody heard of, and those that came from nowhere."""
    audio, lost = expected_samples(files)
    heard = round(account["heard_s"] * SAMPLE_RATE_HZ)
    gap = round(account["gap_s"] * SAMPLE_RATE_HZ)
    return (
        abs(account["delivered"] - audio)
        + abs(account["lost"] - lost)
        + abs(heard - audio - lost)
        + abs(gap - lost)
    )


def _footprint_rows(seen: Sequence[Sample]) -> Iterator[tuple[str, str]]:
    memory = [sample.footprint.rss_kb for sample in seen]
    yield "samples taken", str(len(seen))
    if not seen:
        return
    yield (
        "RSS, MB first / last / highest",
        " / ".join(f"{kb / 1e3:.1f}" for kb in (memory[0], memory[-1], max(memory))),
    )
    for after, words in ((0.1, "after the first tenth"), (0.5, "in the second half")):
        growth = growth_of(seen, after=after)
        if growth is not None:
            yield f"RSS, kB in an hour of audio {words} (95 %)", str(growth)
    for what in ("files", "threads"):
        counts = [getattr(sample.footprint, what) for sample in seen]
        yield f"{what}, first / last / range", f"{counts[0]} / {counts[-1]} / {min(counts)}-{max(counts)}"
    yield "messages in queues, most", f"{max(sample.queue_depth for sample in seen):.0f}"
    names = sorted({name for sample in seen for name in sample.state_bytes})
    for name in names:
        found = [sample.state_bytes.get(name, 0) / 1e3 for sample in seen]
        yield f"{name}, kB first / last / largest", f"{found[0]:.1f} / {found[-1]:.1f} / {max(found):.1f}"


def growth_of(seen: Sequence[Sample], *, after: float) -> Slope | None:
    """Of memory, in kB an hour of audio, when the share ``after`` has passed. None for too few samples."""
    warm = [sample for sample in seen if sample.audio_s >= after * seen[-1].audio_s]
    if len(warm) < FEWEST:
        return None
    return slope([s.audio_s / 3600 for s in warm], [s.footprint.rss_kb for s in warm])


# --- the command -------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=48.0, help="of audio, at least (48)")
    parser.add_argument("--folder", type=Path, action="append", help=f"recordings (default: ${FOLDERS})")
    parser.add_argument("--passes", type=int, default=2, help="how often each is played at least (2)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--everything", action="store_true", help="push, clips and metrics as well")
    parser.add_argument("--json", type=Path, help="write every sample there")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the configuration"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        files = _files(given, folder)
        settings = [(key, value) for key, _, value in (text.partition("=") for text in given.set)]
        run = soak(folder, files, settings, everything=given.everything)
        if run.code != 0:
            print("\n".join(run.log))
            return 1
        positions = compare(folder, files)
        table = list(rows(run, folder, files, positions))
        lost = unaccounted(json.loads((folder / "account.json").read_text()), files)
    width = max(len(name) for name, _ in table)
    for name, value in table:
        print(f"{name:{width}}  {value}")
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(run)) + "\n")
    return 1 if lost else 0


def _files(given: argparse.Namespace, folder: Path) -> list[Path]:
    """As many different recordings as let each be played ``passes`` times."""
    named = given.folder or [Path(name) for name in os.environ.get(FOLDERS, "").split(":") if name]
    found = [path for name in named for path in sorted(name.glob("*.flac"))]
    if named and not found:
        raise SystemExit(f"There are no recordings (*.flac) in {', '.join(map(str, named))}: name others.")
    wanted_s = given.hours * 3600
    if not found:
        found = synthesised(folder, min(8, max(1, math.ceil(wanted_s / given.passes / 900))), given.seed)
    different: list[Path] = []
    length_s = 0.0
    for path in found:
        if length_s * given.passes >= wanted_s:
            break
        different.append(path)
        length_s += soundfile.info(str(path)).duration
    return different * math.ceil(wanted_s / length_s)


if __name__ == "__main__":
    sys.exit(main())
