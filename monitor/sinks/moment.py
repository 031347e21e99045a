"""When something happened, told so that its age survives a clock that is set and a process that is killed.

A Raspberry Pi has no clock of its own: it boots with the time of its last shutdown and jumps to the right one
minutes later. The age of an event of this boot is therefore counted on the boot clock, which nobody sets and
which runs on in suspend and beyond the end of a process.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    utc_s: float
    """Seconds since 1970."""
    boot: str
    """Which start of this machine it was in."""
    since_boot_s: float


def now() -> Moment:
    return Moment(time.time(), _this_boot(), time.clock_gettime(time.CLOCK_BOOTTIME))


def age_s(then: Moment, at: Moment) -> float:
    """How long ago ``then`` was; infinite when that cannot be told.

    Of an earlier boot the clock on the wall has to tell. It was at least as long ago as this boot, and a
    clock that now stands earlier than then is wrong: such an event may be hours old.
    """
    if then.boot == at.boot:
        return max(0.0, at.since_boot_s - then.since_boot_s)
    by_wall_s = at.utc_s - then.utc_s
    return max(by_wall_s, at.since_boot_s) if by_wall_s >= 0 else float("inf")


@cache
def _this_boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        # Nothing can be told across processes then, but within this one all the same.
        return f"process {uuid.uuid4()}"
