"""What a running process costs, as Linux counts it in /proc."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROC = Path("/proc")


def cpu_ns_by_thread(pid: int) -> dict[int, int]:
    """Nanoseconds that each living thread has run; ticks of 10 ms would hide a quiet night."""
    spent = {}
    for task in (_PROC / str(pid) / "task").iterdir():
        spent[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return spent


def children(pid: int) -> list[int]:
    """Processes that ``pid`` has started and that live."""
    tasks = (_PROC / str(pid) / "task").iterdir()
    return sorted(int(child) for task in tasks for child in (task / "children").read_text().split())


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MB, now and at its highest."""

    now_mb: float
    peak_mb: float

    @classmethod
    def of(cls, pid: int) -> Self:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        now, peak = (int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
        return cls(now, peak)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds per hour of audio: of a process, and of its threads, the busiest first.

    A thread has the name that Linux knows, which is the program's unless a library set another.
    """

    in_all: float
    threads: list[tuple[str, float]]


def cost_while(pids: Sequence[int], work: Callable[[], None]) -> list[Cost]:
    """What each of the processes spends while ``work`` plays in real time."""
    before = [cpu_ns_by_thread(pid) for pid in pids]
    begun_s = time.monotonic()
    work()
    per_hour = 3600.0 / (time.monotonic() - begun_s)
    return [_cost(pid, ran, per_hour) for pid, ran in zip(pids, before, strict=True)]


def _cost(pid: int, before: Mapping[int, int], per_hour: float) -> Cost:
    tasks = _PROC / str(pid) / "task"
    threads = [
        ((tasks / str(tid) / "comm").read_text().strip(), (ns - before.get(tid, 0)) / 1e9 * per_hour)
        for tid, ns in cpu_ns_by_thread(pid).items()
    ]
    return Cost(sum(spent for _, spent in threads), sorted(threads, key=lambda thread: -thread[1]))
