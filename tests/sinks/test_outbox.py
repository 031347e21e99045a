"""The outbox with real files, real kills and disks that really refuse."""

import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from monitor.sinks.moment import Moment, age_s, now
from monitor.sinks.outbox import RETRY_DISK_S, TELL_DAMAGE_S, Item
from monitor.sinks.outbox_file import OutboxFile
from tests.sinks.outboxes import opened


def item(key="e1", payload="{}", **more):
    return Item(key, "started", payload, **more)


def keys(outbox, channel=""):
    return [entry.item.key for entry in outbox.pending(channel)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite"


def test_what_was_put_is_there_in_order_after_a_restart_until_it_is_done(path):
    with opened(path) as outbox:
        assert outbox.put(item("a", '{"cry": "é"}'), item("b")) == 2
        assert outbox.put(item("c")) == 1
        outbox.done("b")
    with opened(path) as outbox:
        assert keys(outbox) == ["a", "c"]
        assert outbox.pending()[0].item == item("a", '{"cry": "é"}')
        assert outbox.stats().on_disk
        outbox.done("a", "c", "never put")
        assert outbox.waiting() == 0
        outbox.put(item("d"))
        assert outbox.pending()[0].number > 0
    with opened(path) as outbox:
        assert keys(outbox) == ["d"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from monitor.sinks.outbox import Item, Outbox
outbox = Outbox(Path(sys.argv[1]), within_s=20.0)
outbox.open(within_s=20.0)
outbox.put(Item("a", "started", "{}"), remember={"open": "e1"})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_put_returned_from_survives_a_kill(path):
    child = subprocess.run(
        [sys.executable, "-c", _KILLED, str(path)], env={**os.environ, "PYTHONPATH": "."}, check=False
    )
    assert child.returncode == -signal.SIGKILL
    with opened(path) as outbox:
        assert keys(outbox) == ["a"]
        assert outbox.facts() == {"open": "e1"}


def test_the_same_key_is_kept_once_in_each_channel(path):
    with opened(path) as outbox:
        assert outbox.put(item("a", "first"), item("a", "first", channel="phone")) == 2
        assert outbox.put(item("a", "second")) == 0
        assert [entry.item.payload for entry in outbox.pending()] == ["first"]
        outbox.done("a")
        assert (keys(outbox), keys(outbox, "phone")) == ([], ["a"])
        assert (outbox.waiting(), outbox.waiting("phone"), outbox.waiting("")) == (1, 1, 0)


def test_facts_change_together_with_entries(path):
    with opened(path) as outbox:
        outbox.put(item("start"), remember={"open": "e1", "else": "x"})
        outbox.put(item("end"), forget=["open"])
        outbox.put(remember={"else": "y"})
    with opened(path) as outbox:
        assert outbox.facts() == {"else": "y"}
        assert keys(outbox) == ["start", "end"]


def test_a_full_outbox_gives_up_the_oldest_and_says_so_until_it_is_empty(path):
    with opened(path, capacity=2) as outbox:
        outbox.put(item("a"), item("b"))
        assert outbox.fault() == ""
        outbox.put(item("c"))
        assert keys(outbox) == ["b", "c"]
        assert outbox.stats().evicted == 1
        assert "1 event could not be kept: 2 waited" in outbox.fault()
        outbox.done("b")
        assert outbox.fault()
        outbox.done("c")
        assert outbox.fault() == ""
        outbox.put(item("d"))
    with opened(path, capacity=2) as outbox:
        assert keys(outbox) == ["d"]


def test_a_deferred_entry_waits_its_time_and_no_longer(path):
    clock_s = [100.0]
    with opened(path, monotonic_s=lambda: clock_s[0]) as outbox:
        outbox.put(item("a"), item("b"))
        outbox.defer("a", 30)
        assert keys(outbox) == ["b"]
        assert outbox.waiting() == 2
        clock_s[0] += 30
        assert keys(outbox) == ["a", "b"]


def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(path):
    clock_s = [0.0]
    for damage in (
        b"no database at all, but long enough to be read as one " * 100,
        b"SQLite format 3\0" * 300,
    ):
        path.write_bytes(damage)
        with opened(path, monotonic_s=lambda: clock_s[0]) as outbox:
            assert "damaged" in outbox.fault()
            assert path.name in outbox.fault()
            outbox.put(item("a"))
            clock_s[0] += TELL_DAMAGE_S
            assert outbox.fault() == ""
        aside = [file for file in path.parent.glob(f"{path.name}.damaged-*") if file.read_bytes() == damage]
        assert len(aside) == 1
        with opened(path) as outbox:
            assert keys(outbox) == ["a"]
        path.unlink()


def test_damage_that_comes_while_it_is_in_use_loses_nothing_that_memory_holds(path):
    file = OutboxFile(path)
    with opened(path, file=lambda _: file) as outbox:
        outbox.put(item("a"))
        file.close()  # a checkpoint, so that the file itself holds the pages; it is opened again
        path.write_bytes(path.read_bytes()[:100] + b"\xff" * (path.stat().st_size - 100))
        outbox.put(item("b"))
        assert "damaged" in outbox.fault()
    with opened(path) as outbox:
        assert keys(outbox) == ["a", "b"]


def test_a_file_of_a_newer_version_is_kept_aside(path):
    with contextlib.closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    with opened(path) as outbox:
        assert "format 99" in outbox.fault()


def test_without_its_folder_it_works_in_memory_and_saves_all_when_the_folder_comes(tmp_path):
    clock_s = [0.0]
    path = tmp_path / "mount" / "outbox.sqlite"
    with opened(path, monotonic_s=lambda: clock_s[0]) as outbox:
        assert "cannot be kept on disk" in outbox.fault()
        outbox.put(item("a"), remember={"open": "e1"})
        assert keys(outbox) == ["a"]
        assert not outbox.stats().on_disk
        path.parent.mkdir()
        outbox.tick()
        assert outbox.fault(), "not tried again and again"
        clock_s[0] += RETRY_DISK_S
        outbox.tick()
        assert outbox.fault() == ""
    with opened(path) as outbox:
        assert keys(outbox) == ["a"]
        assert outbox.facts() == {"open": "e1"}


def test_what_an_earlier_process_left_on_a_disk_that_comes_late_goes_first(tmp_path):
    here, away = tmp_path / "disk", tmp_path / "away"
    here.mkdir()
    with opened(here / "o.sqlite") as outbox:
        outbox.put(item("old"))
    here.rename(away)
    clock_s = [0.0]
    with opened(here / "o.sqlite", monotonic_s=lambda: clock_s[0]) as outbox:
        outbox.put(item("new"))
        away.rename(here)
        clock_s[0] += RETRY_DISK_S
        outbox.put(item("newer"))
        assert keys(outbox) == ["old", "new", "newer"]
    with opened(here / "o.sqlite") as outbox:
        assert keys(outbox) == ["old", "new", "newer"]


@contextlib.contextmanager
def a_disk_that_takes_no_more():
    """Every write that would make a file longer than a page fails, as on a full disk (errno EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_durability_and_no_event(path):
    clock_s = [0.0]
    with opened(path, monotonic_s=lambda: clock_s[0]) as outbox:
        outbox.put(item("a"))
        with a_disk_that_takes_no_more():
            outbox.put(item("b"))
            clock_s[0] += RETRY_DISK_S
            outbox.tick()
            said = outbox.fault()
            outbox.done("a")
        assert "cannot be kept on disk" in said
        assert "Make room" in said
        assert keys(outbox) == ["b"]
        clock_s[0] += RETRY_DISK_S
        outbox.tick()
        assert outbox.fault() == ""
    with opened(path) as outbox:
        assert keys(outbox) == ["b"]


def test_without_a_path_nothing_is_written():
    with opened(None) as outbox:
        outbox.put(item("a"))
        assert keys(outbox) == ["a"]
        assert outbox.fault() == ""
        assert not outbox.stats().on_disk


def test_several_threads_put_and_deliver_without_losing_anything(path):
    with opened(path) as outbox:

        def produce(name):
            for number in range(25):
                outbox.put(item(f"{name}-{number}", channel=name))
                outbox.done(*[key for key in keys(outbox, name) if not key.endswith("7")], channel=name)

        threads = [threading.Thread(target=produce, args=(name,)) for name in ("a", "b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with opened(path) as outbox:
        assert {name: keys(outbox, name) for name in "abc"} == {
            name: [f"{name}-7", f"{name}-17"] for name in "abc"
        }


# --- age ------------------------------------------------------------------------------------------

FIRST = Moment(utc_s=1_000_000.0, boot="first", since_boot_s=500.0)


@pytest.mark.parametrize(
    ("at", "expected_s"),
    [
        pytest.param(Moment(1_000_060.0, "first", 560.0), 60, id="an-honest-clock"),
        pytest.param(Moment(1_036_000.0, "first", 560.0), 60, id="the-clock-was-set-forward"),
        pytest.param(Moment(900_000.0, "first", 560.0), 60, id="the-clock-was-set-back"),
        pytest.param(Moment(1_000_300.0, "second", 20.0), 300, id="another-boot"),
        pytest.param(Moment(1_000_005.0, "second", 20.0), 20, id="another-boot-and-a-slow-clock"),
        pytest.param(Moment(999_000.0, "second", 20.0), float("inf"), id="another-boot-with-an-old-time"),
    ],
)
def test_the_age_of_an_event_does_not_follow_a_clock_that_is_set(at, expected_s):
    assert age_s(FIRST, at) == expected_s


def test_an_entry_expires_by_its_age_and_not_by_the_clock(path):
    at = [FIRST]
    with opened(path, now=lambda: at[0]) as outbox:
        outbox.put(item("alarm", lasts_s=300), item("end"))
    with opened(path, now=lambda: at[0]) as outbox:
        alarm, end = outbox.pending()
        at[0] = Moment(FIRST.utc_s + 90_000, "first", 799.0)
        assert not outbox.is_expired(alarm)
        at[0] = Moment(FIRST.utc_s - 90_000, "first", 800.0)
        assert outbox.is_expired(alarm)
        assert not outbox.is_expired(end)
        assert outbox.stats().oldest_age_s == 300


def test_now_moves_on():
    first, second = now(), now()
    assert first.boot == second.boot
    assert 0 <= age_s(first, second) < 10


@pytest.mark.parametrize(
    "spoiled",
    [
        "UPDATE entries SET utc_s = 'soon' WHERE key = 'b'",
        "UPDATE entries SET lasts_s = 'long' WHERE key = 'b'",
        "UPDATE entries SET lasts_s = 9e999 WHERE key = 'b'",
        "UPDATE entries SET payload = x'ff00' WHERE key = 'b'",
        "UPDATE entries SET number = 9223372036854775807 WHERE key = 'b'",
        "UPDATE facts SET value = x'00' WHERE name = 'b'",
    ],
)
def test_a_record_that_a_card_has_spoiled_costs_no_other(path, spoiled):
    with opened(path) as outbox:
        outbox.put(item("a"), item("b", lasts_s=5.0), remember={"a": "1", "b": "2"})
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(spoiled)
    with opened(path) as outbox:
        kept = keys(outbox) + list(outbox.facts().values())
        assert kept in (["a", "1", "2"], ["a", "b", "1"])
        assert "1 damaged record of the outbox had to go" in outbox.fault()
        assert outbox.put(item("c")) == 1
    with opened(path) as outbox:
        assert "c" in keys(outbox)
        assert outbox.fault() == ""


@pytest.mark.parametrize(
    "spoiled",
    [
        "DROP TABLE facts",
        "ALTER TABLE entries RENAME COLUMN payload TO other",
        "CREATE UNIQUE INDEX one ON entries (kind)",
        "PRAGMA user_version = 0",
    ],
)
def test_a_file_of_another_form_is_kept_aside_and_not_tried_for_ever(path, spoiled):
    with opened(path) as outbox:
        outbox.put(item("a"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(spoiled)
    with opened(path) as outbox:
        outbox.put(item("b"), remember={"a": "1"})
        assert outbox.stats().on_disk
        assert "damaged" in outbox.fault()
    with opened(path) as outbox:
        assert "b" in keys(outbox)


def test_a_file_that_was_deleted_is_noticed_and_made_anew_with_what_waits(tmp_path):
    path = tmp_path / "state" / "outbox.sqlite"
    path.parent.mkdir()
    seconds = [0.0]
    with opened(path, monotonic_s=lambda: seconds[0]) as outbox:
        outbox.put(item("a"))
        shutil.rmtree(path.parent)
        outbox.tick()
        assert "Events cannot be kept on disk" in outbox.fault()
        path.parent.mkdir()
        seconds[0] += RETRY_DISK_S
        outbox.tick()
        assert outbox.fault() == ""
    with opened(path) as again:
        assert keys(again) == ["a"]


def _respelt(path, old, new):
    """Change the description of a table as a card may, behind SQLite's back."""
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(whole.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"number INTEGER PRIMARY KEY", b"number INTEGER PRIMARY\xc0KEY"),
        (b"number INTEGER PRIMARY KEY,", b"number INTEGER             ,"),
        (b"CREATE TABLE facts", b"CR\x93ATE TABLE facts"),
    ],
)
def test_a_damaged_description_of_a_table_costs_the_file_and_not_the_start(path, old, new):
    with opened(path) as outbox:
        outbox.put(item("a"))
    _respelt(path, old, new)
    with opened(path) as outbox:
        outbox.put(item("b"))
        assert outbox.stats().on_disk
        assert "damaged" in outbox.fault()
    with opened(path) as outbox:
        assert "b" in keys(outbox)
