"""Sees what a service says on its ways out: status socket, hub, log; and whether one of them goes down."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from monitor.errors import MonitorError
from monitor.service.status_socket import ask
from tests.broker import Subscriber

ANSWERED_WITHIN_S: Final = 1.0
"""The other ways must not wait for one that hangs."""

CALM_TOLD_WITHIN_S: Final = 2.0
"""From the end of a cry until the status knows of the note to the phone: a look a second."""


class Watcher:
    """``status`` is the path of the status socket, ``device`` the id in the topics of ``hub``."""

    def __init__(self, status: Path, hub: Subscriber, device: str) -> None:
        self._status = status
        self._hub = hub
        self._base = f"cradlewatch/{device}"
        self._losses: set[str] = set()
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._asker = ThreadPoolExecutor(1, "status-asker")
        self._asked: Future[dict] | None = None

    def log(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)

    def report(self) -> dict:
        """What the status says now; empty when it says nothing, or not soon."""
        if self._asked is not None and self._asked.done():
            self._answer(self._asked)  # of long ago
        if self._asked is None:
            # On a thread, for to find a socket on a disk that hangs takes as long as that hangs.
            self._asked = self._asker.submit(ask, self._status)
        wait([self._asked], ANSWERED_WITHIN_S)
        return self._answer(self._asked) if self._asked.done() else {}

    def _answer(self, asked: Future[dict]) -> dict:
        self._asked = None
        try:
            return asked.result()
        except MonitorError:
            self._losses.add("status")
            return {}

    def ways(self) -> dict[str, list[str]]:
        report = self.report()
        with self._lock:
            lines = list(self._lines)
        sinks = [f"{name}: {fault}" for name, fault in report.get("sinks", {}).items() if fault]
        return {
            "status": [*report.get("reasons", []), *sinks],
            "hub": self.told().get("reasons", []),
            "log": lines,
        }

    def told(self) -> dict:
        """The latest health that the hub has."""
        health = self._hub.last(f"{self._base}/health")
        return json.loads(health) if health else {}

    def is_well(self) -> bool:
        report, told = self.report(), self.told()
        mine = report.get("microphone_ok") and report.get("signal_ok")
        theirs = told.get("microphone_ok") and told.get("signal_ok")
        delivers = not any(report.get("sinks", {"": "absent"}).values())
        return bool(mine and theirs and delivers and report.get("counters", {}).get("audio_s"))

    def is_calm(self) -> bool:
        """The hub has seen no cry for a while, and nothing is on its way to the phone."""
        crying = [message for message in self._hub.received if message.topic == f"{self._base}/crying"]
        if not crying or json.loads(crying[-1].payload)["state"] != "OFF":
            return False
        since_s = time.monotonic() - crying[-1].arrived_s
        return since_s >= CALM_TOLD_WITHIN_S and not self.report().get("delivery", {}).get("waiting")

    def losses(self) -> list[str]:
        gone = any(message.payload == "offline" for message in self._of_availability())
        return sorted(self._losses | ({"hub"} if gone else set()))

    def forget(self) -> None:
        self._losses.clear()
        with self._lock:
            self._lines.clear()
        # The latest states stay: a hub keeps them too.
        topics = [f"{self._base}/{kind}" for kind in ("health", "crying")]
        kept = [(topic, payload) for topic in topics if (payload := self._hub.last(topic)) is not None]
        self._hub.forget()
        for topic, payload in kept:
            self._hub.keep(topic, payload)

    def _of_availability(self) -> list:
        return [message for message in self._hub.received if message.topic == f"{self._base}/availability"]
