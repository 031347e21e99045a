"""Prints the live measurement, each figure next to what it should be."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np


def report(result: dict[str, Any]) -> None:
    """Print what was measured, next to what it should be."""
    alarms = result["alarms"]
    delays = [alarm["delay_s"] for alarm in alarms]
    say(f"{result['machine']}; cries: {result['cries_from']}")
    say(f"cries {result['cries']}, missed {len(result['missed'])}, false alarms {result['false_alarms']}")
    if alarms:
        listened = [result["listening_s"][alarm["name"]] for alarm in alarms]
        # Of one cry this says little: between two places on the grid of hops lie whole hops.
        ways = [a["delay_s"] - s for a, s in zip(alarms, listened, strict=True) if s is not None]
        say(f"onset at the microphone to message  {spread(delays)}   target p50 <= 1.0 s, p95 <= 3 s")
        say(f"  listening, by the offline pipeline {spread([s for s in listened if s is not None])}")
        say(f"  the rest: sound system and sending {spread(ways)}")
        say(f"    of it from hop to subscriber     {spread([alarm['sending_s'] for alarm in alarms])}")
        say(f"  onset to detection in the message  {spread([alarm['deciding_s'] for alarm in alarms])}")
    for room in ("quiet_room", "crying"):
        for process, cost in result.get(room, {}).items():
            threads = ", ".join(f"{name} {spent:.2f}" for name, spent in cost["threads"] if spent >= 0.05)
            say(f"CPU s per hour, {room}, {process}: {cost['in_all']:.2f}   (threads: {threads})")
    memory = result["memory_mb"]
    for process, target in (("service", 100), ("child", 30)):
        held = memory[process]
        say(
            f"resident memory, {process}: {held['now_mb']:.1f} MB, peak {held['peak_mb']:.1f} MB"
            f"   target <= {target} MB"
        )
    if result["start_s"]:
        say(f"start to listening                  {spread(result['start_s'])}   target <= 2 s")


def spread(values: Sequence[float]) -> str:
    """Median, 95th percentile and range, in seconds."""
    p50, p95 = np.percentile(values, [50, 95])
    return f"p50 {p50:.2f} s, p95 {p95:.2f} s ({min(values):.2f} to {max(values):.2f})"


def say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()
