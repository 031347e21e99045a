"""Outboxes on a disk that does not answer: delivery goes on, and the order and the one time of each stay."""

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from monitor.keeper import HANGS
from monitor.sinks.outbox import RETRY_DISK_S, Item, Outbox
from monitor.sinks.outbox_file import OutboxFile
from tests.broker import DEADLINE_S, wait_until
from tests.sinks.outboxes import opened


def item(key, channel=""):
    return Item(key, "started", "{}", channel)


def keys(outbox, channel=""):
    return [entry.item.key for entry in outbox.pending(channel)]


class HangingFile(OutboxFile):
    """A file whose disk takes as long as the test wants, and may answer with an error then."""

    def __init__(self, path):
        super().__init__(path)
        self.answers = threading.Event()
        self.answers.set()
        self.error = ""

    def _hang(self):
        self.answers.wait(DEADLINE_S)
        if self.error:
            raise sqlite3.OperationalError(self.error)

    def connect(self):
        self._hang()
        super().connect()

    @contextlib.contextmanager
    def transaction(self):
        with super().transaction() as connection:
            self._hang()
            yield connection


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite"


@contextlib.contextmanager
def hanging(path, *, at_start=False, **more):
    """An outbox and its file, as the service makes them; the disk hangs from the start, or not yet."""
    file = HangingFile(path)
    if at_start:
        file.answers.clear()
    outbox = Outbox(path, file=lambda _: file, **more)
    outbox.open(within_s=0.2 if at_start else DEADLINE_S)
    try:
        yield outbox, file
    finally:
        file.answers.set()
        outbox.close(DEADLINE_S)


def test_puts_wait_half_a_second_in_all_and_are_delivered_from_memory(path):
    with hanging(path) as (outbox, file):
        file.answers.clear()
        began_s = time.monotonic()
        for number in range(200):
            outbox.put(item(f"e{number}"), remember={"open": str(number)})
            outbox.done(f"e{number - 1}")
        assert time.monotonic() - began_s < 3, "as many puts, one wait"
        assert keys(outbox) == ["e199"]
        assert not outbox.stats().on_disk
        wait_until(outbox.fault, "it is told")
        assert outbox.fault().endswith(HANGS)


def test_nobody_who_asks_waits_while_a_put_waits_for_the_disk(path):
    with hanging(path, within_s=DEADLINE_S) as (outbox, file):
        outbox.put(item("before"))
        file.answers.clear()
        waiting = threading.Thread(target=lambda: outbox.put(item("alarm")))
        waiting.start()
        wait_until(lambda: keys(outbox) == ["before", "alarm"], "it can be seen at once")
        began_s = time.monotonic()
        assert (outbox.fault(), outbox.waiting(), outbox.stats().waiting) == ("", 2, 2)
        outbox.defer("before", 60)
        assert keys(outbox) == ["alarm"]
        assert time.monotonic() - began_s < 5
        assert waiting.is_alive()
        file.answers.set()
        waiting.join(DEADLINE_S)


@pytest.mark.parametrize("error", ["", "disk I/O error"])
def test_a_disk_that_comes_back_gets_what_waits_in_order_and_nothing_that_was_done(path, error):
    clock_s = [0.0]
    with hanging(path, monotonic_s=lambda: clock_s[0]) as (outbox, file):
        outbox.put(item("first"), item("done while it hangs"), remember={"a": "1", "b": "1"})
        file.answers.clear()
        outbox.put(item("second"), remember={"a": "2"}, forget=["b"])
        outbox.put(item("came and went"))
        outbox.done("done while it hangs", "came and went")
        outbox.put(item("third"))
        file.error = error
        file.answers.set()
        if error:
            wait_until(lambda: error in outbox.fault(), "the disk says no")
        file.error = ""
        clock_s[0] += RETRY_DISK_S
        wait_until(lambda: (outbox.tick(), outbox.stats().on_disk)[1], "it is on disk")
    with opened(path) as again:
        assert keys(again) == ["first", "second", "third"]
        assert again.facts() == {"a": "2"}


def test_hours_of_hanging_leave_no_queue_behind(path):
    with hanging(path) as (outbox, file):
        file.answers.clear()
        for number in range(6000):
            outbox.put(item(f"e{number}"), remember={f"episode {number}": "{}"})
            outbox.done(f"e{number}")
            outbox.put(forget=[f"episode {number}"])
        assert len(outbox._mirror._changes) <= 4096
    with opened(path) as again:
        assert (again.waiting(), again.facts()) == (0, {})


def test_a_disk_that_hangs_at_the_start_delays_no_alarm_and_is_read_when_it_answers(path):
    with opened(path) as earlier:
        earlier.put(item("left"), item("sent again meanwhile"), remember={"who": "earlier", "left": "1"})
    with hanging(path, at_start=True) as (outbox, file):
        assert outbox.take_left() is None
        outbox.put(item("new"), item("sent again meanwhile"), remember={"who": "we"})
        outbox.done("sent again meanwhile")
        numbers = {entry.item.key: entry.number for entry in outbox.pending()}
        file.answers.set()
        wait_until(lambda: (left := outbox.take_left()) and left["who"] == "earlier", "it was read")
        wait_until(lambda: outbox.stats().on_disk, "it is on disk")
        assert keys(outbox) == ["left", "new"]
        assert outbox.facts() == {"who": "we", "left": "1"}
        now = [entry.number for entry in outbox.pending()]
        assert now[1] == numbers["new"], "what is on its way keeps its number"
        assert now == sorted(now)
    with opened(path) as again:
        assert keys(again) == ["left", "new"]
        again.put(item("next"))
        assert keys(again) == ["left", "new", "next"]


def test_a_file_that_another_program_holds_locked_delays_no_alarm(path):
    with opened(path) as earlier:
        earlier.put(item("left"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        clock_s = [0.0]
        with opened(path, monotonic_s=lambda: clock_s[0]) as outbox:
            outbox.put(item("new"))
            assert outbox.fault().endswith("database is locked. Close the other program that has it open.")
            assert keys(outbox) == ["new"]
            other.execute("COMMIT")
            other.close()
            clock_s[0] += RETRY_DISK_S
            outbox.tick()
            assert keys(outbox) == ["left", "new"]
            assert outbox.stats().on_disk


def test_a_stop_with_a_hanging_disk_keeps_to_its_time(path):
    file = HangingFile(path)
    outbox = Outbox(path, file=lambda _: file)
    outbox.open(within_s=DEADLINE_S)
    file.answers.clear()
    outbox.put(item("a"))
    began_s = time.monotonic()
    outbox.close(0.3)
    assert time.monotonic() - began_s < 5
    file.answers.set()


# --- files of the last release ------------------------------------------------------------------------

_OF_THE_LAST_RELEASE = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
BEGIN;
CREATE TABLE entries (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
    channel TEXT NOT NULL, lasts_s REAL, utc_s REAL NOT NULL, boot TEXT NOT NULL, since_boot_s REAL NOT NULL,
    UNIQUE (channel, key)
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version = 1;
INSERT INTO entries VALUES (7, 'e1', 'started', '{}', '', 300.0, 1000.0, 'boot', 5.0);
INSERT INTO facts VALUES ('episode e1', '{}');
COMMIT;
"""


def test_an_outbox_of_the_last_release_is_read_whole_and_made_private(path, tmp_path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript(_OF_THE_LAST_RELEASE)
        # As a kill leaves it: a log that nobody has written back.
        killed = tmp_path / "killed.sqlite"
        for suffix in ("", "-wal", "-shm"):
            copy = Path(f"{killed}{suffix}")
            copy.write_bytes(Path(f"{path}{suffix}").read_bytes())
            copy.chmod(0o644)
    with opened(killed) as outbox:
        assert outbox.fault() == ""
        assert keys(outbox) == ["e1"]
        assert outbox.facts() == {"episode e1": "{}"}
        outbox.put(item("e2"))
        assert [file.name for file in tmp_path.glob("killed*") if file.stat().st_mode & 0o077] == []
    with opened(killed) as again:
        assert keys(again) == ["e1", "e2"]


def test_no_memory_is_shared_with_other_processes_for_a_full_disk_answers_there_with_sigbus(path):
    with opened(path) as outbox:
        outbox.put(item("a"))
        assert f"{path}-shm" not in Path("/proc/self/maps").read_text()
        assert not path.with_name(f"{path.name}-shm").exists()
