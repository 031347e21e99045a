"""SQLite files of ours after a bad card, a power cut, another version, or a hand that meant well."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from typing_extensions import override

from monitor.sinks import homeassistant, mqtt_events
from monitor.sinks.episode_ledger import EpisodeLedger
from monitor.sinks.hub_topics import Topics
from monitor.sinks.mqtt_events import EventDelivery
from monitor.sinks.mqtt_settings import MqttSettings
from monitor.sinks.outbox import Item, Outbox
from monitor.sinks.push import _key
from monitor.sinks.push_notes import Now, Urgency
from monitor.sinks.push_policy import PushPolicy
from monitor.sinks.push_queue import PushQueue
from monitor.sinks.push_settings import ChannelSettings, PushSettings
from monitor.sinks.push_state import PolicyState
from tests.fuzz.mutate import any_value, spoiled, spoiled_json
from tests.fuzz.state_target import NOW, episode
from tests.fuzz.target import Target

_TOPICS = Topics.of(MqttSettings("localhost", "nursery"))
_PUSH = PushSettings(
    "nursery", channels=(ChannelSettings("Mum", "json://x"), ChannelSettings("Dad", "json://y", step=2))
)


@dataclass(frozen=True)
class Given:
    file: bytes | None
    """None: a folder stands there."""
    wal: bytes | None
    statements: tuple[tuple[str, tuple[Any, ...]], ...]


def of_folder(write: Callable[[Path], None], name: str) -> bytes:
    """What ``write`` leaves in a file."""
    with TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def any_damage(
    data: bytes,
    tables: dict[str, tuple[str, ...]],
    values: Callable[[random.Random], Any],
    rng: random.Random,
) -> Given:
    """A database spoiled in its bytes, or by statements that SQLite itself finds right."""
    kind = rng.random()
    if kind < 0.4:
        return Given(spoiled(data, rng, rng.choice((1, 3, 8))), None, ())
    if kind < 0.45:
        return Given(data[: rng.choice((0, 1, 99, 100, 4096, 8192, len(data) // 2))], None, ())
    if kind < 0.48:
        return Given(rng.choice((rng.randbytes(5000), b"", b"SQLite format 3\0", b"{}" * 100)), None, ())
    if kind < 0.485:
        return Given(None, None, ())
    if kind < 0.52:
        return Given(data, rng.choice((b"", rng.randbytes(32), rng.randbytes(5000))), ())
    table = rng.choice(list(tables))
    column = rng.choice(tables[table])
    statements: list[tuple[str, tuple[Any, ...]]] = []
    for _ in range(rng.randint(1, 3)):
        statements.append(
            rng.choice(
                (
                    (f"PRAGMA user_version = {rng.choice((0, 1, 2, 99, -1, 2**31 - 1))}", ()),
                    (f"PRAGMA application_id = {rng.choice((0, 1, 2**31 - 1))}", ()),
                    (f"DROP TABLE {table}", ()),
                    (f"DELETE FROM {table}", ()),
                    (f"ALTER TABLE {table} RENAME TO other", ()),
                    (f"ALTER TABLE {table} ADD COLUMN more TEXT", ()),
                    (f"ALTER TABLE {table} RENAME COLUMN {column} TO other", ()),
                    (f"CREATE TABLE strange{rng.randrange(1000)} (a, b, c)", ()),
                    (
                        f"CREATE TRIGGER t{rng.randrange(1000)} AFTER INSERT ON {table} BEGIN SELECT 1; END",
                        (),
                    ),
                    (f"CREATE UNIQUE INDEX i{rng.randrange(1000)} ON {table} ({column})", ()),
                    *[(f"UPDATE {table} SET {column} = ?", (_storable(values(rng)),))] * 20,
                )
            )
        )
    return Given(data, None, tuple(statements))


def _storable(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(2**70)
    if isinstance(value, list | dict):
        return repr(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def laid_down(given: Given, folder: Path, name: str) -> Path:
    """The damaged file in a fresh folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / name
    if given.file is None:
        path.mkdir()
        return path
    path.write_bytes(given.file)
    if given.wal is not None:
        Path(f"{path}-wal").write_bytes(given.wal)
    connection = sqlite3.connect(path, isolation_level=None)
    with contextlib.closing(connection):
        for statement, values in given.statements:
            with contextlib.suppress(sqlite3.Error, UnicodeEncodeError):
                connection.execute(statement, values)
    return path


@cache
def _seed() -> bytes:
    return of_folder(_fill, "outbox.sqlite")


def _fill(path: Path) -> None:
    outbox = Outbox(path, within_s=30.0)
    outbox.open(within_s=30.0)
    _mqtt(outbox, 1, ("started", "escalated"))
    _mqtt(outbox, 2, ("started", "ended"))
    queue = PushQueue(outbox, ["Mum", "Dad", "gone"])
    queue.take_left()
    queue.signing_key("c2VjcmV0" * 5 + "c2U=")
    policy = PushPolicy(_PUSH)
    orders = policy.handle(episode("started", 3), Now(100.0, NOW))
    queue.put(orders.send, policy.state)
    outbox.close(30.0)


def _mqtt(outbox: Outbox, number: int, kinds: tuple[str, ...]) -> None:
    ledger = EpisodeLedger(outbox)
    for kind in kinds:
        message = episode(kind, number)
        made = homeassistant.publications(message, _TOPICS, event_expiry_s=300)
        change = ledger.change(message)
        outbox.put(*mqtt_events.items(message, made, 300), remember=change.remember, forget=change.forget)


def _cell(rng: random.Random) -> Any:
    kind = rng.random()
    if kind < 0.3:
        tree = {
            "daily_test_on": "2026-11-22",
            "cry": ["a", "2026-11-22T03:00:00+00:00", True, ["Mum"]],
            "faults": {},
        }
        return spoiled_json(tree, rng).decode("utf-8", "replace")
    if kind < 0.4:
        return spoiled_json(["Mum", "Dad"], rng).decode("utf-8", "replace")
    if kind < 0.5:
        return episode("started").to_json()
    if kind < 0.6:
        return rng.randbytes(20)
    return any_value(rng)


class OutboxTarget(Target):
    """What MQTT and direct push make of an outbox, and whether a damaged one heals."""

    name = "outboxes"
    share = 8_000

    @override
    def make(self, rng: random.Random) -> Given:
        columns = ("number", "key", "kind", "payload", "channel", "lasts_s", "utc_s", "boot", "since_boot_s")
        return any_damage(
            _seed(), {"entries": columns, "facts": ("name", "value", "value", "value")}, _cell, rng
        )

    @override
    def feed(self, given: Given) -> str:
        path = laid_down(given, self.folder / "state", "outbox.sqlite")
        outbox = Outbox(path, within_s=30.0)
        outbox.open(within_s=30.0)
        fault = outbox.fault()
        self._hub(outbox)
        self._phones(outbox)
        outbox.put(Item("mine", "started", "{}", lasts_s=300.0))
        outbox.tick()
        on_disk = outbox.stats().on_disk
        outbox.stats()
        outbox.close(30.0)
        if given.file is not None:
            assert on_disk, f"a damaged outbox is never replaced: {fault}"
        if on_disk:
            again = Outbox(path)
            again.open(within_s=30.0)
            assert "mine" in {entry.item.key for entry in again.pending()}, "what was kept is gone"
            assert not again.fault(), f"it is still damaged: {again.fault()}"
            again.close(30.0)
        return fault

    @staticmethod
    def _hub(outbox: Outbox) -> None:
        ledger, events = EpisodeLedger(outbox), EventDelivery(outbox, _TOPICS)
        last = ledger.last_ended(outbox.facts())
        if last is not None:
            homeassistant.publications(last, _TOPICS, event_expiry_s=300)
        for ended in ledger.left_open(outbox.facts()):
            outbox.put(
                *mqtt_events.items(ended, homeassistant.publications(ended, _TOPICS, event_expiry_s=300), 300)
            )
        for number, outgoing in enumerate(events.due()):
            outgoing.publication.payload.encode()
            events.sent((1, number), outgoing)
            events.acknowledged((1, number), 0, failed=False)
        events.alarm_waits()
        _mqtt(outbox, 9, ("started",))

    @staticmethod
    def _phones(outbox: Outbox) -> None:
        queue = PushQueue(outbox, ["Mum", "Dad"])
        policy = PushPolicy(_PUSH, queue.take_left() or PolicyState())
        _key(queue)
        orders = policy.tick(Now(100.0, NOW), hub_reached=None)
        for tag in orders.withdraw:
            queue.withdraw(tag)
        orders = policy.handle(episode("started", 5), Now(101.0, NOW))
        queue.put(orders.send, policy.state)
        assert queue.pending("Mum"), "a new cry waits for nobody"
        for name in ("Mum", "Dad"):
            for one in queue.pending(name):
                one.notification.text.encode()
                assert one.left_s <= one.notification.lasts_s
                assert isinstance(one.notification.urgency, Urgency)
                queue.done(name, one)
        policy.handle(episode("ended", 5), Now(102.0, NOW))
