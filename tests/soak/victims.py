"""Processes that are killed at random moments and started again, and files that outlive each kill."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import structlog

AT_ANY_TIME = 0.2
"""Share of the kills that may hit a process that has only just begun."""

# Forked from a parent without threads: a process that is killed every second must start in milliseconds.
FORK = multiprocessing.get_context("fork")


class Journal:
    """Lines of JSON, each on disk when ``write`` returns. A line that a kill cut short is left out."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        if self._file.tell() and path.read_bytes()[-1:] != b"\n":
            self._file.write(b"\n")

    def write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    @staticmethod
    def read(path: Path) -> Iterator[dict[str, Any]]:
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def log_to(path: Path, *, as_json: bool = False) -> None:
    """Write this process's log behind what ``path`` holds; with ``as_json`` a Journal can read it."""
    logger = structlog.WriteLoggerFactory(path.open("a"))
    structlog.configure(
        logger_factory=logger, wrapper_class=structlog.make_filtering_bound_logger(logging.INFO)
    )
    if as_json:
        structlog.configure(
            processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()]
        )


class Stage(Protocol):
    def start(self, name: str) -> None: ...

    def kill(self, name: str) -> None: ...

    def is_up(self, name: str) -> bool:
        """Whether it has come so far that a kill finds it at work."""


def kill_at_random(
    stage: Stage, kills: int, shares: Mapping[str, float], pause_s: float, chance: random.Random
) -> Counter[str]:
    """How often each was killed. ``pause_s``: longest time between two kills.

    Outages overlap: whoever is dead comes back in its own time, whatever happens to the others. Most victims
    are let come up first, or a slow machine would kill nothing but processes that begin.
    """
    killed: Counter[str] = Counter()
    dead: dict[str, float] = {}
    next_kill_s = time.monotonic()
    victim, is_awaited = "", False
    while killed.total() < kills or dead:
        now_s = time.monotonic()
        for name in [name for name, back_s in dead.items() if back_s <= now_s]:
            del dead[name]
            stage.start(name)
        alive = [name for name in shares if name not in dead]
        if not victim and killed.total() < kills and alive:
            (victim,) = chance.choices(alive, [shares[name] for name in alive])
            is_awaited = chance.random() >= AT_ANY_TIME and not stage.is_up(victim)
        if victim and is_awaited and stage.is_up(victim):
            is_awaited = False
            next_kill_s = now_s + chance.uniform(0.0, pause_s)
        if victim and not is_awaited and now_s >= next_kill_s:
            stage.kill(victim)
            killed[victim] += 1
            dead[victim] = time.monotonic() + chance.uniform(0.0, 0.3)
            next_kill_s = time.monotonic() + chance.uniform(0.05, pause_s)
            victim = ""
        time.sleep(0.002)
    return killed
