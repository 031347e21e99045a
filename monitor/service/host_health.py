"""How the machine below is, judged: warm, starved of power, full, short of memory. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from monitor.service.trouble import State, Trouble
from monitor.service.vitals import Vitals

READ_LATE_S: Final = 20.0
"""Several times the period of the readings, which read files that answer at once."""
CROWDED: Final = 0.9


@dataclass(frozen=True, slots=True)
class HostLimits:
    hot_c: float = 80.0
    """The firmware of a Pi slows its processor down from here on."""
    disk_low_mb: float = 50.0
    memory_mb: float = math.inf


def host_troubles(vitals: Vitals, now_s: float, limits: HostLimits) -> Iterator[Trouble]:
    """What is wrong, read at ``vitals.at_s`` of the same monotonic clock as ``now_s``."""
    if now_s - vitals.at_s > READ_LATE_S:
        yield _degraded("host.late", "The machine's disk does not answer: what is new cannot be kept.")
    yield from _of_power(vitals, limits)
    yield from _of_disk(vitals, limits)
    if vitals.memory_mb > limits.memory_mb:
        yield _degraded(
            "host.memory",
            f"The monitor takes more than {limits.memory_mb:.0f} MB of memory, which it should never need. "
            "Restart it (a service manager does, once nobody cries) and please report it.",
        )
    if vitals.open_files > CROWDED:
        yield _degraded(
            "host.files",
            "Nearly no file can be opened any more: the limit of open files is reached. Restart the monitor.",
        )
    for reason in vitals.changed_files:
        yield _degraded(f"host.changed.{reason}", reason)


def _of_power(vitals: Vitals, limits: HostLimits) -> Iterator[Trouble]:
    if vitals.under_voltage:
        yield _degraded(
            "host.power",
            "The power supply is too weak (under-voltage): use a better one, or a shorter cable.",
        )
    if vitals.cpu_temperature_c is not None and vitals.cpu_temperature_c >= limits.hot_c:
        yield _degraded(
            "host.hot", f"The processor is hotter than {limits.hot_c:.0f} degrees: give the machine air."
        )
    elif vitals.throttled:
        yield _degraded(
            "host.throttled", "The processor is slowed down by heat or weak power: detection may be late."
        )


def _of_disk(vitals: Vitals, limits: HostLimits) -> Iterator[Trouble]:
    folder = vitals.folder
    if folder is None:
        return
    if folder.fault:
        yield _degraded("state.folder", folder.fault)
    if folder.read_only:
        yield _degraded(
            "host.read_only",
            "The disk with the state folder has become read-only: a restart forgets what is new. "
            "Check the SD card.",
        )
    elif folder.free_mb < limits.disk_low_mb:
        how = "is full" if folder.free_mb < 1 else f"has less than {limits.disk_low_mb:.0f} MB left"
        yield _degraded("host.disk", f"The disk with the state folder {how}: make room.")


def _degraded(kind: str, reason: str) -> Trouble:
    return Trouble(kind, State.DEGRADED, reason)
