"""Sees what a service says on its ways out: status socket, hub, log; and whether one of them goes down."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from monitor.errors import MonitorError
from monitor.service.status_socket import ask
from tests.broker import Subscriber


class Watcher:
    """``status`` is the path of the status socket, ``device`` the id in the topics of ``hub``."""

    def __init__(self, status: Path, hub: Subscriber, device: str) -> None:
        self._status = status
        self._hub = hub
        self._base = f"cradlewatch/{device}"
        self._losses: set[str] = set()
        self._lines: list[str] = []
        self._lock = threading.Lock()

    def log(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)

    def report(self) -> dict:
        try:
            return ask(self._status)
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

    def losses(self) -> list[str]:
        gone = any(message.payload == "offline" for message in self._of_availability())
        return sorted(self._losses | ({"hub"} if gone else set()))

    def forget(self) -> None:
        self._losses.clear()
        with self._lock:
            self._lines.clear()
        # The latest health stays: a hub keeps it too.
        kept = self._hub.last(f"{self._base}/health")
        self._hub.forget()
        if kept is not None:
            self._hub.keep(f"{self._base}/health", kept)

    def _of_availability(self) -> list:
        return [message for message in self._hub.received if message.topic == f"{self._base}/availability"]
