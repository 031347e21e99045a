"""Outboxes of tests: they wait for a busy disk as long as it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monitor.sinks.outbox import Outbox
from tests.broker import DEADLINE_S


@contextlib.contextmanager
def opened(path: Path | None, **more: Any) -> Iterator[Outbox]:
    outbox = Outbox(path, **{"within_s": DEADLINE_S} | more)
    outbox.open(within_s=DEADLINE_S)
    try:
        yield outbox
    finally:
        outbox.close(DEADLINE_S)
