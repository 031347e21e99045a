"""Measure the service live: from a cry's first sound at the microphone to the message at a subscriber.

    python -m tests.bench.live_delay [--cries 24] [--quiet-s 120] [--starts 7] [--json FILE]

Everything is real: PulseAudio and PortAudio (a virtual microphone that is fed in real time), the
service in a process of its own, Mosquitto, a subscriber. On the way the CPU time and the memory of
service and capture child are read from /proc, and the time from the start to listening. Run it on
an idle machine; about 20 s a cry.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from monitor.errors import MonitorError
from tests.bench.live_cries import BACKGROUND_S, live_cries, room_noise, to_int16
from tests.bench.live_report import report, say
from tests.bench.live_room import Hub, listening, start_times_s
from tests.bench.live_run import LiveRun, listening_s
from tests.bench.process_cost import Memory, children, cost_while
from tests.broker import Mosquitto, Subscriber
from tests.virtual_microphone import ABSENT, VirtualMicrophone

MIN_CRIES: Final = 20


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every figure."""
    rng = np.random.default_rng(options.seed)
    background = to_int16(room_noise(BACKGROUND_S, rng))
    origin, cries = live_cries(options.cries, options.data, options.seed)
    result: dict[str, Any] = {"machine": machine(), "cries_from": origin}
    with (
        VirtualMicrophone(folder, "pipe", background=background) as microphone,
        Mosquitto(folder / "mosquitto") as broker,
    ):
        result["start_s"] = start_times_s(microphone, broker, options.starts)
        with Subscriber(broker.port) as subscriber, listening(microphone, broker) as service:
            hub = Hub(subscriber)
            hub.wait_until_hearing()
            processes = [service.program.pid, *children(service.program.pid)]
            run = LiveRun(microphone, hub, background, options.seed)
            run.calm(5.0)
            if options.quiet_s > 0:
                result["quiet_room"] = _cost(processes, lambda: run.calm(options.quiet_s))

            def play() -> None:
                for number, cry in enumerate(cries, start=1):
                    run.play(cry)
                    if sys.stdout.isatty():
                        say(f"\r{number} of {len(cries)} cries", end="\r")

            result["crying"] = _cost(processes, play)
            result["memory_mb"] = _of_each(Memory.of(pid) for pid in processes)
    listened = [listening_s(cry, background) for cry in cries]
    return result | {
        "cries": len(cries),
        "missed": run.missed,
        "false_alarms": run.false_alarms,
        "alarms": [dataclasses.asdict(alarm) for alarm in run.alarms],
        "listening_s": {cry.name: heard for cry, heard in zip(cries, listened, strict=True)},
    }


def _cost(processes: Sequence[int], work: Callable[[], None]) -> dict[str, Any]:
    return _of_each(cost_while(processes, work))


def _of_each(values: Iterable[Any]) -> dict[str, Any]:
    return {name: dataclasses.asdict(value) for name, value in zip(("service", "child"), values, strict=True)}


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _parser().parse_args(arguments)
    if ABSENT:
        say(ABSENT)
        return 2
    # As after the first start of an installed service: its byte code is cached.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = f"python -m tests.bench.live_delay {shlex.join(arguments)}"
    say(command)
    try:
        with tempfile.TemporaryDirectory(prefix="live-") as folder:
            result = measure(options, Path(folder)) | {"command": command}
    except MonitorError as error:
        say(str(error))
        return error.exit_code
    report(result)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.live_delay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cries", type=int, default=24, help=f"at least {MIN_CRIES} say something (24)")
    parser.add_argument("--quiet-s", type=float, default=120.0, help="listen to a quiet room first (120)")
    parser.add_argument("--starts", type=int, default=7, help="cold starts to time (7)")
    parser.add_argument("--data", type=Path, help="public audio data (default: $CRADLEWATCH_DATA)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every figure there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
