"""What a monitor says in one life of ``push_kills``: cries, faults, tests, acknowledgements, quiet hours."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.messages import (
    AlertMessage,
    AnyMessage,
    ControlsMessage,
    EpisodeMessage,
    HealthMessage,
    TestMessage,
)

DEVICE = "nursery"


@dataclass
class Script:
    """What a monitor says in one life. Each source of tests and acknowledgements once: texts stay unique."""

    life: int
    chance: random.Random
    _tests: list[str] = field(default_factory=lambda: ["hub", "daily", "command"])
    _origins: list[str] = field(default_factory=lambda: ["hub", "phone", "command"])
    _n: int = 0

    def messages(self, stopping: threading.Event) -> Iterator[AnyMessage]:
        yield self._controls()
        lost_at = self.chance.choice([0, 0, 1, 2])
        number = 0
        while not stopping.is_set():
            if number == lost_at:
                yield self._health(microphone_ok=False)
            yield from self._episode(number)
            if self._tests and self.chance.random() < 0.5:
                source = self._tests.pop()
                yield TestMessage.model_validate({**self._head(), "source": source})
            if number >= lost_at:
                yield self._health(microphone_ok=True)
            number += 1
        yield self._controls()
        yield self._health(microphone_ok=True)

    def _episode(self, number: int) -> Iterator[AnyMessage]:
        onset = datetime.now(UTC) - timedelta(minutes=1 + number % 100)
        episode_id = f"{self.life}-{number}"
        middle = self.chance.choice([0, 3, 10, 25])
        escalates_at, heard_at = self.chance.randrange(1, 30), self.chance.randrange(1, 30)
        is_quiet = self.chance.random() < 0.2
        crying_s, escalation = 1, 0
        steps = ["started", *["updated"] * middle, "ended"]
        for step, event_type in enumerate(steps):
            if event_type == "updated" and step == escalates_at:
                event_type, escalation = "escalated", 1  # noqa: PLW2901 - it is this step's
            if event_type == "ended" and is_quiet:
                yield self._controls(quiet_hours="00:00-23:59")
            head = self._head()
            yield EpisodeMessage.model_validate(
                {
                    **head,
                    "event_type": event_type,
                    "episode_id": episode_id,
                    "escalation": escalation,
                    "onset_at": onset,
                    "detected_at": onset,
                    "duration_s": (head["time"] - onset).total_seconds(),
                    "crying_s": crying_s,
                    "score": 0.9,
                    "level_dbfs": -30.0,
                    "truncated": event_type == "ended" and self.chance.random() < 0.2,
                }
            )
            crying_s += 1
            if event_type != "ended" and step == heard_at and self._origins:
                values = {"state": "acknowledged", "acknowledged_by": self._origins.pop()}
                yield AlertMessage.model_validate({**self._head(), "episode_id": episode_id, **values})
        if is_quiet:
            yield self._controls()

    def _controls(self, quiet_hours: str = "off") -> ControlsMessage:
        return ControlsMessage.model_validate({**self._head(), "hold_s": 5, "quiet_hours": quiet_hours})

    def _health(self, *, microphone_ok: bool) -> HealthMessage:
        values: dict[str, Any] = {
            "state": "ok" if microphone_ok else "fault",
            "reasons": [],
            "microphone_ok": microphone_ok,
        }
        more = {"signal_ok": True, "uptime_s": 1.0, "version": "0", "counters": {}}
        return HealthMessage.model_validate({**self._head(), **values, **more})

    def _head(self) -> dict[str, Any]:
        self._n += 1
        return {"event_id": f"{self.life}-{self._n}", "device": DEVICE, "time": datetime.now(UTC)}
