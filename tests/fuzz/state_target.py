"""The small files of the state folder, after a bad card, a bad editor or another version."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typing_extensions import override

from monitor.commands import Request
from monitor.events.bus import MessageBus
from monitor.messages import AnyMessage, EpisodeMessage
from monitor.service.desk import Desk, Moment
from monitor.service.requests import RequestBox
from monitor.sinks import homeassistant
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_settings import MqttSettings
from tests.fuzz.mutate import spoiled_json
from tests.fuzz.target import Target

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
FILES = {
    "controls.json": {
        "listening": True,
        "sensitivity": 55,
        "hold_s": 8.5,
        "quiet_hours": "22:00-06:30",
        "muted_until": "2026-11-22T04:00:00Z",
    },
    "night.json": {
        "evening": "2026-11-21",
        "episodes": 3,
        "finished_crying_s": 128.5,
        "longest_calm_s": 5400.0,
        "last_cry_at": "2026-11-22T01:11:12Z",
        "last_episode_id": "abc",
    },
    "causes.json": {"by_episode": {"abc": "hungry", "def": "tired"}},
}


def episode(kind: str, number: int = 1, **more: Any) -> EpisodeMessage:
    values = {
        "event_id": f"e{number}-{kind}",
        "device": "nursery",
        "time": NOW + timedelta(seconds=10),
        "event_type": kind,
        "episode_id": f"e{number}",
        "onset_at": NOW,
        "detected_at": NOW,
        "ended_at": NOW + timedelta(seconds=10) if kind == "ended" else None,
        "duration_s": 10.0,
        "crying_s": 8.0,
        "score": 0.9,
        "level_dbfs": -30.0,
    }
    return EpisodeMessage.model_validate(values | more)


class FrontDesk:
    """A desk with its folder, its box and what it published."""

    def __init__(self, folder: Path | None) -> None:
        self.box = RequestBox()
        self.published: list[AnyMessage] = []
        self.bus = MessageBus()
        self.restarts = 0
        self.now = Moment(1000.0, NOW)
        self.topics = Topics.of(MqttSettings("localhost", "nursery"))
        self.desk = Desk(
            device="nursery",
            box=self.box,
            episodes=self.bus.subscribe("desk", only=EpisodeMessage),
            publish=self._publish,
            order=lambda _orders: None,
            restart=self._restart,
            folder=folder,
            hold_s=5.0,
            now=self.now,
        )

    def _publish(self, message: AnyMessage) -> None:
        self.published.append(message)
        # As the sinks do with it.
        json.loads(message.to_json())
        homeassistant.publications(message, self.topics, event_expiry_s=300)

    def _restart(self) -> None:
        self.restarts += 1

    def turn(self) -> None:
        self.now = Moment(self.now.monotonic_s + 1.0, self.now.utc + timedelta(seconds=1))
        self.desk.turn(self.now, listening=True)


@dataclass(frozen=True)
class Given:
    name: str
    content: bytes | None
    """None: a folder stands in its place."""


class StateTarget(Target):
    name = "state files"
    share = 5_000

    @override
    def make(self, rng: random.Random) -> Given:
        name = rng.choice(list(FILES))
        return Given(name, spoiled_json(FILES[name], rng) if rng.random() < 0.995 else None)

    @override
    def feed(self, given: Given) -> str:
        folder = self.folder / "state"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if given.content is None:
            (folder / given.name).mkdir()
        else:
            (folder / given.name).write_bytes(given.content)
        first = FrontDesk(folder)
        fault = " ".join(first.desk.faults)
        self._live(first)
        second = FrontDesk(folder)
        if given.content is not None:
            assert not second.desk.faults, "what was written in its place cannot be read"
        self._live(second)
        return fault

    @staticmethod
    def _live(front: FrontDesk) -> None:
        desk = front.desk
        desk.open(front.now)
        front.turn()
        front.bus.publish(episode("started"))
        front.turn()
        for control, payload in (
            ("confirm_cause", b"hungry"),
            ("sensitivity", b"60"),
            ("acknowledge", b"PRESS"),
        ):
            front.box.put(Request(control, payload, "hub"))
        front.turn()
        front.bus.publish(episode("ended"))
        front.turn()
        json.dumps(desk.latest, allow_nan=False)
        desk.close(front.now)
