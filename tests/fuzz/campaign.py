"""Spreads inputs over workers, watches them, and starts a new one behind whatever kills or hangs them.

No threads in here: workers are forked, in milliseconds and with all modules loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

from tests.fuzz.target import Target
from tests.fuzz.worker import ACCEPTED, BEGAN, BUSY, INDEX, REJECTED, SLOWEST, SLOWEST_INDEX, work

_FORK = multiprocessing.get_context("fork")
LOOK_EVERY_S = 0.02
READY_WITHIN_S = 60.0
CHUNKS = 4
"""Of a target: so that workers are done at about the same time."""
_FRAME = re.compile(r'File ".*?((?:monitor|tests)/[^"]+)", line (\d+)')


@dataclass
class Outcome:
    """What came of the inputs of one target."""

    name: str
    inputs: int = 0
    rejected: int = 0
    accepted: int = 0
    crashes: int = 0
    hangs: int = 0
    slowest_s: float = 0.0
    slowest_index: int = -1
    busy_s: float = 0.0
    kinds: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Numbers of the inputs behind each kind of finding."""


@dataclass
class _Chunk:
    kind: type[Target]
    start: int
    stop: int


class _Running:
    def __init__(self, chunk: _Chunk, folder: Path, seed: int) -> None:
        self.chunk = chunk
        self.numbers: Any = RawArray("d", 7)
        self.numbers[INDEX] = chunk.start - 1
        self.began_s = time.monotonic()
        self.process = _FORK.Process(
            target=work, args=(chunk.kind, folder, chunk.start, chunk.stop, seed, self.numbers)
        )
        self.process.start()

    def is_overdue(self) -> bool:
        began_s = self.numbers[BEGAN]
        if self.numbers[INDEX] < self.chunk.start:  # the target is being made
            return time.monotonic() - self.began_s > READY_WITHIN_S
        return began_s > 0 and time.monotonic() - began_s > self.chunk.kind.limit_s

    def end(self) -> None:
        pid = self.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGABRT)  # faulthandler writes where each thread stood
        self.process.join(5.0)
        self.process.kill()
        self.process.join()


def run(
    kinds: Sequence[type[Target]], inputs: dict[str, int], seed: int, folder: Path, jobs: int
) -> list[Outcome]:
    """Try ``inputs[name]`` inputs of each target. What was found stays in ``folder``/findings."""
    (folder / "findings").mkdir(parents=True, exist_ok=True)
    outcomes = {kind.name: Outcome(kind.name, inputs[kind.name]) for kind in kinds}
    waiting = [
        chunk for kind in kinds for chunk in _chunks(kind, inputs[kind.name]) if chunk.start < chunk.stop
    ]
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_Running(waiting.pop(0), folder, seed))
            time.sleep(LOOK_EVERY_S)
            for one in list(running):
                outcome = outcomes[one.chunk.kind.name]
                hung = one.process.is_alive() and one.is_overdue()
                if hung:
                    one.end()
                if not one.process.is_alive():
                    running.remove(one)
                    waiting[:0] = _ended(one, outcome, folder, hung=hung)
    finally:
        for one in running:
            one.process.kill()
            one.process.join()
    for outcome in outcomes.values():
        _count_findings(outcome, folder / "findings")
    return list(outcomes.values())


def _chunks(kind: type[Target], count: int) -> list[_Chunk]:
    step = max(1, -(-count // CHUNKS))
    return [_Chunk(kind, start, min(start + step, count)) for start in range(0, count, step)]


def _ended(one: _Running, outcome: Outcome, folder: Path, *, hung: bool) -> list[_Chunk]:
    """Take its account; what is left to try behind an input that killed or hung it."""
    numbers, chunk = one.numbers, one.chunk
    outcome.rejected += int(numbers[REJECTED])
    outcome.accepted += int(numbers[ACCEPTED])
    outcome.busy_s += numbers[BUSY]
    if numbers[SLOWEST] > outcome.slowest_s:
        outcome.slowest_s, outcome.slowest_index = numbers[SLOWEST], int(numbers[SLOWEST_INDEX])
    code = one.process.exitcode
    if code == 0 and not hung:
        return []
    index = max(int(numbers[INDEX]), chunk.start)
    stacks = folder / f"stacks-{one.process.pid}"
    how = "it hung" if hung else f"the process died with {code}"
    shown = stacks.read_text() if stacks.exists() else ""
    (folder / "findings" / f"{outcome.name}-{index}.txt").write_text(f"{how}\n{shown}\n")
    outcome.hangs += hung
    return [_Chunk(chunk.kind, index + 1, chunk.stop)] if index + 1 < chunk.stop else []


def _count_findings(outcome: Outcome, findings: Path) -> None:
    for path in sorted(findings.glob(f"{outcome.name}-*.txt")):
        index = int(path.stem.rpartition("-")[2])
        problem = path.read_text().partition("\n--- input ---\n")[0]
        outcome.kinds[_signature(problem)].append(index)
        outcome.crashes += not problem.startswith("it hung")


def _signature(problem: str) -> str:
    """What it was and where in our code: the same mistake of many inputs is one finding."""
    lines = [line for line in problem.splitlines() if line and not line.startswith((" ", "\t"))]
    ours = [f"{path}:{line}" for path, line in _FRAME.findall(problem) if "tests/fuzz" not in path]
    return f"{lines[-1][:160] if lines else problem[:160]} @ {ours[-1] if ours else '?'}"
