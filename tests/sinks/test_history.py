"""The history with real files, real kills and disks that really refuse."""

import contextlib
import json
import random
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from monitor.sinks.history import (
    CRYING_EVERY_S,
    PRUNE_EVERY_S,
    WRITE_EVERY_S,
    HistorySettings,
    HistorySink,
)
from monitor.sinks.history_file import TABLES
from monitor.sinks.history_keeper import (
    MINUTES_IN_MEMORY,
    RETRY_DISK_S,
    TELL_DAMAGE_S,
    HistoryKeeper,
)
from monitor.sinks.history_reader import HistoryReader
from monitor.sinks.history_records import Batch, Minute
from monitor.sinks.history_store import HistoryStore
from monitor.sinks.moment import Moment
from monitor.sinks.steady import TRUSTED_AFTER_S
from tests.broker import DEADLINE_S, wait_until
from tests.sinks.night_messages import (
    EVENING,
    at,
    confirmed,
    cry,
    delivery,
    heard,
    hint,
    level,
    state,
    trial,
)

ROOT = Path(__file__).parents[2]


class Clock:
    """Stands until it is told to pass."""

    def __init__(self) -> None:
        self.utc_s = EVENING.timestamp()
        self.since_boot_s = 1000.0

    def __call__(self) -> Moment:
        return Moment(self.utc_s, "boot", self.since_boot_s)

    def passes(self, seconds: float) -> None:
        self.utc_s += seconds
        self.since_boot_s += seconds


@pytest.fixture
def clock():
    return Clock()


@contextlib.contextmanager
def remembering(folder, clock=None, **more):
    sink = HistorySink(HistorySettings(folder, **more), now=clock or Clock(), within_s=DEADLINE_S)
    sink.open()
    sink.tick()
    try:
        yield sink
    finally:
        sink.close(DEADLINE_S)


def rows(folder, table):
    """As a stranger reads them: by SQLite alone."""
    with contextlib.closing(sqlite3.connect(folder / "history.sqlite")) as connection:
        columns = TABLES[table]
        found = connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1").fetchall()
    return [dict(zip(columns, row, strict=True)) for row in found]


def tell(sink, *messages):
    for message in messages:
        sink.handle(message)


def test_an_episode_is_remembered_with_all_that_was_said_of_it(tmp_path):
    with remembering(tmp_path) as sink:
        tell(
            sink,
            cry("started", 100, 101.5),
            cry("updated", 100, 130, crying_s=20, cause=hint()),
            heard(140),
            cry("escalated", 100, 160, crying_s=60, escalation=1, cause=hint()),
            cry("ended", 100, 200, crying_s=80, escalation=1, cause=hint("unsure")),
            confirmed(4000),
        )
    (episode,) = rows(tmp_path, "episodes")
    start = EVENING.timestamp()
    assert episode == {
        "id": "e1",
        "onset_s": start + 100,
        "detected_s": start + 101.5,
        "until_s": start + 200,
        "ended": 1,
        "duration_s": 100.0,
        "crying_s": 80.0,
        "score": 0.9,
        "level_dbfs": -30.0,
        "escalation": 1,
        "truncated": 0,
        "cause": "unsure",
        "cause_probability": 0.62,
        "cause_base_rate": 0.4,
        "acknowledged_s": start + 140,
        "acknowledged_by": "phone",
        "confirmed_cause": "tired",
    }
    assert sum(minute["crying_s"] for minute in rows(tmp_path, "minutes")) == pytest.approx(80.0)


def test_a_start_is_on_disk_at_once_and_how_far_it_has_got_within_seconds(tmp_path, clock):
    with remembering(tmp_path, clock) as sink:
        tell(sink, cry("started", 100, 101.5))
        assert [e["crying_s"] for e in rows(tmp_path, "episodes")] == [1.5]
        tell(sink, cry("updated", 100, 102))
        sink.tick()
        assert [e["crying_s"] for e in rows(tmp_path, "episodes")] == [1.5]
        clock.passes(CRYING_EVERY_S)
        tell(sink, cry("updated", 100, 109))
        assert [e["crying_s"] for e in rows(tmp_path, "episodes")] == [9.0]
        tell(sink, cry("updated", 100, 111))
        clock.passes(WRITE_EVERY_S)
        sink.tick()
        assert [e["crying_s"] for e in rows(tmp_path, "episodes")] == [11.0]


def test_levels_become_minutes_weighted_by_time(tmp_path):
    with remembering(tmp_path) as sink:
        tell(sink, level(0, -99), level(20, -50), level(40, -50, active=True), level(50, -30, active=True))
        tell(sink, level(65, -20))  # five seconds before the full minute, five behind it
    first, second = rows(tmp_path, "minutes")
    assert first["minute"] * 60 == EVENING.timestamp()
    assert first["heard_s"] == pytest.approx(60)
    assert first["level_mean_dbfs"] == pytest.approx((40 * -50 + 10 * -30 + 10 * -20) / 60)
    assert (first["level_min_dbfs"], first["level_max_dbfs"], first["peak_dbfs"]) == (-99, -20, -10)
    assert first["active_share"] == pytest.approx(30 / 60)
    assert first["floor_dbfs"] == pytest.approx(-60)
    assert second["minute"] == first["minute"] + 1
    assert second["heard_s"] == pytest.approx(5)


def test_what_was_written_in_parts_adds_up(tmp_path, clock):
    with remembering(tmp_path, clock) as sink:
        for second in range(0, 60, 10):
            tell(sink, level(second, -50 - second))
            clock.passes(WRITE_EVERY_S)
            sink.tick()
    (minute,) = rows(tmp_path, "minutes")
    assert minute["heard_s"] == pytest.approx(50)
    assert minute["level_mean_dbfs"] == pytest.approx(-50 - 30)
    assert minute["level_min_dbfs"] == -100


def test_a_silence_of_the_reports_is_not_listening(tmp_path):
    with remembering(tmp_path, gap_s=25) as sink:
        tell(sink, *(level(second) for second in range(0, 121, 10)))
        tell(sink, *(level(second) for second in range(300, 361, 10)))
    start = EVENING.timestamp()
    assert rows(tmp_path, "listening") == [
        {"begin_s": start, "end_s": start + 120},
        {"begin_s": start + 300, "end_s": start + 360},
    ]
    assert sum(minute["heard_s"] for minute in rows(tmp_path, "minutes")) == pytest.approx(180)


def test_a_clock_that_is_set_back_makes_no_negative_time(tmp_path):
    with remembering(tmp_path) as sink:
        tell(sink, level(3600), level(3610), level(0), level(10), cry("started", -3000, 5), level(20))
        tell(sink, state(30, "The microphone clips."), state(-3600))
    for stretch in rows(tmp_path, "listening"):
        assert stretch["end_s"] >= stretch["begin_s"]
    for fault in rows(tmp_path, "faults"):
        assert fault["end_s"] >= fault["begin_s"]
    assert sum(minute["heard_s"] for minute in rows(tmp_path, "minutes")) == pytest.approx(30)


def test_troubles_have_a_begin_an_end_and_a_kind(tmp_path):
    lost = "The microphone delivers no audio: it was there and stopped delivering."
    silent = "The microphone delivers digital silence: it is muted."
    link = "mqtt: The broker is away."
    with remembering(tmp_path) as sink:
        tell(
            sink,
            state(0),
            state(10, link),
            state(20, lost, link, microphone_ok=False, fault=True),
            state(50, link),
            state(60, silent, signal_ok=False, fault=True),
            state(90, "The machine is too busy."),
            state(100, lost_s=1.5),
        )
    start = EVENING.timestamp()
    found = [
        (f["begin_s"] - start, f["kind"], f["reason"], f["end_s"] - start) for f in rows(tmp_path, "faults")
    ]
    assert found == [
        (10, "link", link, 60),
        (20, "deaf", "", 50),
        (20, "microphone", lost, 50),
        (60, "deaf", "", 90),
        (60, "signal", silent, 90),
        (90, "other", "The machine is too busy.", 100),
        (98.5, "audio_lost", "1.5 s of audio were lost.", 100),
    ]


def test_tests_and_new_outcomes_of_push_are_remembered_and_repetitions_are_not(tmp_path):
    with remembering(tmp_path) as sink:
        tell(
            sink, delivery(0, "none", 0), trial(10), delivery(12), delivery(13), delivery(70, "failed", 1, 1)
        )
    found = [(a["kind"], json.loads(a["detail"])) for a in rows(tmp_path, "alerts")]
    assert sorted(kind for kind, _ in found) == ["delivery", "delivery", "test"]
    assert {"source": "daily"} in [detail for _, detail in found]
    assert sorted(d["failed"] for kind, d in found if kind == "delivery") == [0, 1]


def test_nobody_else_may_read_it(tmp_path):
    with remembering(tmp_path) as sink:
        tell(sink, cry("started", 0, 1))
        for file in tmp_path.glob("history.sqlite*"):
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


# --- kills ------------------------------------------------------------------------------------------

_WRITES_ON = """
import itertools, sys
from pathlib import Path
from monitor.sinks.history import HistorySettings, HistorySink
from monitor.sinks.history_records import Batch, Minute
from monitor.sinks.history_store import HistoryStore
from monitor.sinks.moment import Moment
from tests.broker import DEADLINE_S, wait_until
from tests.sinks.night_messages import EVENING, cry, level, state
begin = int(sys.argv[2])
clock = itertools.count(begin * 1000, 30)
sink = HistorySink(
    HistorySettings(Path(sys.argv[1])), now=lambda: Moment(0.0, "boot", float(next(clock))), within_s=20.0
)
sink.tick()
print("open", flush=True)
for number in itertools.count(begin):
    name = f"e{number}"
    at = (number % 500) * 60
    sink.handle(cry("started", at, at + 2, episode_id=name))
    print(name, flush=True)
    for second in range(0, 60, 10):
        sink.handle(level(at + second))
        sink.tick()
    sink.handle(state(at, *(["The microphone clips."] if number % 2 else [])))
    sink.handle(cry("ended", at, at + 40, episode_id=name))
"""


def test_a_kill_in_the_middle_of_writing_leaves_a_sound_file_with_all_that_was_written(tmp_path):
    rng = random.Random(5)
    told: list[str] = []
    for run in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITES_ON, str(tmp_path), str(run * 1000)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout.readline() == "open\n"
            told += [child.stdout.readline().strip() for _ in range(rng.randint(1, 40))]
            child.kill()
            told += child.stdout.read().split()
        with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with remembering(tmp_path):
        pass
    episodes = {episode["id"]: episode for episode in rows(tmp_path, "episodes")}
    assert set(told) <= set(episodes)
    assert all(episode["ended"] for episode in episodes.values())
    cut_short = {name for name, episode in episodes.items() if episode["truncated"]}
    assert len(cut_short) <= 3
    assert all(episode["duration_s"] == 40 for name, episode in episodes.items() if name not in cut_short)


def test_an_episode_and_a_fault_left_open_by_a_kill_are_closed_at_the_next_start(tmp_path):
    killed = HistorySink(HistorySettings(tmp_path), now=Clock(), within_s=DEADLINE_S)
    killed.tick()
    tell(killed, state(0, "The microphone clips."), cry("started", 10, 12), cry("escalated", 10, 75))
    with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite")) as copy:
        copy.execute("VACUUM INTO ?", (str(tmp_path / "copy"),))
    killed.close(DEADLINE_S)
    for file in tmp_path.glob("history.sqlite*"):
        file.unlink()
    (tmp_path / "copy").rename(tmp_path / "history.sqlite")

    with remembering(tmp_path) as sink:
        (episode,) = rows(tmp_path, "episodes")
        assert (episode["ended"], episode["truncated"]) == (1, 1)
        assert episode["until_s"] == at(75).timestamp()
        assert [fault["open"] for fault in rows(tmp_path, "faults")] == [0]
        tell(sink, confirmed(900))  # in the morning, of an episode that another process heard
    assert rows(tmp_path, "episodes")[0]["confirmed_cause"] == "tired"


# --- bounds -----------------------------------------------------------------------------------------


def test_what_is_too_old_goes_when_the_clock_can_be_trusted(tmp_path, clock):
    with remembering(tmp_path, clock, keep_days=10) as sink:
        old, young = -11 * 86400, -9 * 86400
        for day, name in ((old, "old"), (young, "young")):
            tell(sink, cry("started", day, day + 2, episode_id=name), level(day), level(day + 10))
            tell(sink, cry("ended", day, day + 30, episode_id=name), trial(day))
            tell(sink, state(day, "x: y"), state(day + 5))
        sink.tick()
        assert len(rows(tmp_path, "episodes")) == 2, "the clock may be wrong"
        clock.passes(TRUSTED_AFTER_S)
        sink.tick()
        for table in TABLES:
            assert len(rows(tmp_path, table)) == 1, table
    assert [episode["id"] for episode in rows(tmp_path, "episodes")] == ["young"]


def test_a_jump_of_the_clock_deletes_nothing(tmp_path, clock):
    with remembering(tmp_path, clock, keep_days=10) as sink:
        tell(sink, cry("started", 0, 2), cry("ended", 0, 30))
        clock.passes(TRUSTED_AFTER_S - 10)
        sink.tick()
        clock.utc_s += 10 * 365 * 86400
        for _ in range(3):
            clock.passes(1000)
            sink.tick()
        assert len(rows(tmp_path, "episodes")) == 1
        clock.utc_s -= 10 * 365 * 86400
        clock.passes(PRUNE_EVERY_S)
        sink.tick()
    assert len(rows(tmp_path, "episodes")) == 1


def test_the_file_stays_within_its_size_and_minutes_go_first(tmp_path, clock):
    with remembering(tmp_path, clock, max_mb=1) as sink:
        tell(sink, cry("started", 0, 2), cry("ended", 0, 30))
        first = int(EVENING.timestamp() // 60)
        for begin in range(first, first + 30_000, 3000):
            for minute in range(begin, begin + 3000):
                sink._batch.put(Minute(minute, 60.0, -50.1, -40.1, -60.1, -30.1, -60.1, 0.1, 0.1))
            sink._write()
        assert sink.fault() == ""
    assert (tmp_path / "history.sqlite").stat().st_size <= 1_000_000
    kept = [minute["minute"] for minute in rows(tmp_path, "minutes")]
    assert len(kept) > 5000
    assert kept[-1] == first + 29_999
    assert [episode["id"] for episode in rows(tmp_path, "episodes")] == ["e1"]


# --- disks ------------------------------------------------------------------------------------------


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


def test_a_full_disk_is_a_fault_and_what_came_meanwhile_is_written_when_there_is_room(tmp_path, clock):
    with remembering(tmp_path, clock) as sink:
        tell(sink, cry("started", 0, 2, episode_id="before"))
        with a_disk_that_takes_no_more():
            tell(
                sink, cry("ended", 0, 30, episode_id="before"), cry("started", 100, 102, episode_id="during")
            )
            tell(sink, *(level(second) for second in range(0, 600, 10)))
            clock.passes(RETRY_DISK_S)
            sink.tick()
            said = sink.fault()
        assert "cannot be remembered on disk" in said
        assert "Make room" in said
        clock.passes(RETRY_DISK_S)
        sink.tick()
        assert sink.fault() == ""
        during = next(e for e in rows(tmp_path, "episodes") if e["id"] == "during")
        assert (during["ended"], during["truncated"]) == (0, 0), "it goes on"
    assert {e["id"]: e["duration_s"] for e in rows(tmp_path, "episodes")} == {"before": 30, "during": 2}
    assert sum(minute["heard_s"] for minute in rows(tmp_path, "minutes")) == pytest.approx(590)


def test_a_disk_that_stays_full_costs_minutes_before_episodes(tmp_path, clock):
    with remembering(tmp_path / "mount", clock) as sink:
        for minute in range(3000):
            tell(sink, level(60 * minute), level(60 * minute + 10))
            if minute % 30 == 0:
                tell(sink, cry("started", 60 * minute, 60 * minute + 2, episode_id=f"e{minute}"))
        assert "older records gave way" in sink.fault()
        (tmp_path / "mount").mkdir()
        clock.passes(RETRY_DISK_S)
        sink.tick()
        assert sink.fault() == ""
    assert len(rows(tmp_path / "mount", "episodes")) == 100
    minutes = rows(tmp_path / "mount", "minutes")
    assert 1440 <= len(minutes) < 1440 + 60
    assert minutes[-1]["minute"] * 60 == EVENING.timestamp() + 60 * 2999


def other_schema(path):
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE episodes (id INTEGER)")


def newer_version(path):
    with contextlib.closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")


def ours_without_a_table(path):
    with remembering(path.parent):
        pass
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE minutes")


def cut_off(path):
    with remembering(path.parent) as sink:
        tell(sink, *(cry("started", n, n + 2, episode_id=f"e{n}") for n in range(300)))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


DAMAGE = {
    "text": lambda path: path.write_bytes(b"no database at all, but long enough to be one " * 100),
    "a-head-alone": lambda path: path.write_bytes(b"SQLite format 3\0" * 300),
    "cut-off": cut_off,
    "another-schema": other_schema,
    "a-newer-version": newer_version,
    "a-table-is-missing": ours_without_a_table,
    "a-folder": Path.mkdir,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(tmp_path, clock, damage):
    damage(tmp_path / "history.sqlite")
    with remembering(tmp_path, clock) as sink:
        assert "was damaged and a new one was begun" in sink.fault()
        (aside,) = [file for file in tmp_path.iterdir() if "damaged" in file.name and file.name.endswith("Z")]
        assert aside.name in sink.fault()
        tell(sink, cry("started", 0, 2))
        clock.passes(TELL_DAMAGE_S)
        sink.tick()
        assert sink.fault() == ""
    assert [episode["id"] for episode in rows(tmp_path, "episodes")] == ["e1"]


def test_an_empty_file_is_as_good_as_none(tmp_path):
    (tmp_path / "history.sqlite").touch()
    with remembering(tmp_path) as sink:
        assert sink.fault() == ""
        tell(sink, cry("started", 0, 2))
    assert len(rows(tmp_path, "episodes")) == 1


def test_no_bytes_whatever_stop_it(tmp_path):
    rng = random.Random(7)
    with remembering(tmp_path) as sink:
        tell(sink, *(cry("started", n, n + 2, episode_id=f"e{n}") for n in range(20)))
        tell(sink, *(level(second) for second in range(0, 3000, 10)))
    sound = (tmp_path / "history.sqlite").read_bytes()
    for number in range(30):
        folder = tmp_path / str(number)
        folder.mkdir()
        damaged = bytearray(sound)
        for _ in range(rng.choice([1, 10, 200])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if number % 3 == 0:
            begin = rng.randrange(len(damaged))
            damaged[begin : begin + 4096] = rng.randbytes(4096)
        (folder / "history.sqlite").write_bytes(damaged)
        with remembering(folder) as sink:
            tell(sink, cry("started", 9000, 9002, episode_id="new"), level(9000))
            tell(sink, cry("ended", 9000, 9030, episode_id="new"))
        assert "new" in [episode["id"] for episode in rows(folder, "episodes")]


def test_damage_that_comes_while_it_is_in_use_does_not_stop_it(tmp_path, clock):
    with remembering(tmp_path, clock) as sink:
        tell(sink, *(cry("started", n, n + 2, episode_id=f"e{n}") for n in range(200)))
        sink._disk._store.close()  # a checkpoint, so that the file itself holds the pages
        path = tmp_path / "history.sqlite"
        path.write_bytes(path.read_bytes()[:100] + b"\xff" * (path.stat().st_size - 100))
        tell(sink, cry("started", 900, 902, episode_id="new"))
        assert "damaged" in sink.fault()
    assert "new" in [episode["id"] for episode in rows(tmp_path, "episodes")]


def test_a_file_that_was_deleted_is_made_anew_with_what_is_still_known(tmp_path, clock):
    with remembering(tmp_path, clock) as sink:
        sink.handle(cry("started", 100, 101.5))
        sink.handle(cry("ended", 100, 200, crying_s=80))
        for file in tmp_path.glob("history.sqlite*"):
            file.unlink()
        clock.passes(1.0)
        sink.tick()
        assert sink.fault() == ""
        assert [row["ended"] for row in rows(tmp_path, "episodes")] == [1]


# --- files of the last release, readers beside the writer, disks that hang ----------------------------


def as_the_last_release_left_it(folder, *, killed):
    """A file with a write-ahead log, in which the latest stand; the log as a kill or a stop leaves it."""
    with remembering(folder) as sink:
        tell(sink, cry("started", 0, 2, episode_id="old"), cry("ended", 0, 30, episode_id="old"))
    path = folder / "history.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.execute("UPDATE episodes SET confirmed_cause = 'tired'")
        kept = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal", "-shm")}
    if killed:
        for suffix, content in kept.items():
            Path(f"{path}{suffix}").write_bytes(content)
            Path(f"{path}{suffix}").chmod(0o644)


@pytest.mark.parametrize("killed", [True, False])
def test_a_history_of_the_last_release_goes_on_whole_private_and_without_shared_memory(tmp_path, killed):
    as_the_last_release_left_it(tmp_path, killed=killed)
    with remembering(tmp_path) as sink:
        assert sink.fault() == ""
        tell(sink, cry("started", 100, 102, episode_id="new"))
        assert [file.name for file in tmp_path.iterdir() if file.stat().st_mode & 0o077] == []
        assert {file.suffix for file in tmp_path.iterdir()} == {".sqlite", ".sqlite-journal"}
        assert f"{tmp_path}/history.sqlite-shm" not in Path("/proc/self/maps").read_text()
    assert [(e["id"], e["confirmed_cause"]) for e in rows(tmp_path, "episodes")] == [
        ("new", None),
        ("old", "tired"),
    ]


def test_it_is_read_while_it_is_written_and_after_a_kill_in_the_middle_of_a_write(tmp_path):
    with remembering(tmp_path) as sink:
        tell(sink, cry("started", 100, 102, episode_id="kept"))
        with HistoryReader(tmp_path / "history.sqlite") as reader:
            tell(sink, cry("started", 200, 202, episode_id="beside"))
            found = reader.between(0.0, 1e11)
        assert {episode.id for episode in found.episodes} == {"kept", "beside"}
    path = tmp_path / "history.sqlite"
    # What a kill in the middle leaves: a changed file, and a journal that takes the change back.
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = TRUNCATE")
        writer.execute("PRAGMA cache_size = 1")  # so that pages go to the file before the commit
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM episodes")
        writer.executemany("INSERT INTO alerts VALUES (?, 1.0, 'x', ?)", [(n, "y" * 3000) for n in range(60)])
        killed = [(file.name, file.read_bytes()) for file in tmp_path.iterdir()]
        writer.execute("ROLLBACK")
    for name, content in killed:
        (tmp_path / name).write_bytes(content)
    with HistoryReader(path) as reader:
        assert len(reader.between(0.0, 1e11).episodes) == 2
    with remembering(tmp_path) as sink:
        assert sink.fault() == ""
    assert len(rows(tmp_path, "episodes")) == 2


def test_a_reader_that_holds_the_file_delays_nothing_and_what_waits_is_written_later(tmp_path, clock):
    with remembering(tmp_path, clock) as sink:
        with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)) as slow:
            slow.execute("BEGIN")
            slow.execute("SELECT * FROM episodes").fetchall()
            tell(sink, cry("started", 100, 102))
            assert sink.fault().endswith("database is locked. Close the other program that has it open.")
        clock.passes(RETRY_DISK_S)
        sink.tick()
        assert sink.fault() == ""
        assert len(rows(tmp_path, "episodes")) == 1


def test_a_disk_that_hangs_holds_up_no_message_and_no_stop(tmp_path, clock):
    answers = threading.Event()

    class Hanging(HistoryStore):
        def write(self, batch):
            answers.wait(DEADLINE_S)
            super().write(batch)

    disk = HistoryKeeper(Hanging(tmp_path / "history.sqlite"), 10**8, now=clock)
    disk.start()
    began_s = time.monotonic()
    for minute in range(5000):
        batch = Batch()
        batch.put(Minute(minute, 60.0, -50.1, -40.1, -60.1, -30.1, -60.1, 0.1, 0.1))
        disk.write(batch)
    assert time.monotonic() - began_s < DEADLINE_S, "as many batches, one wait"
    wait_until(lambda: "the disk does not answer" in disk.fault(), "it is told")
    assert "older records gave way" in disk.fault()
    answers.set()
    wait_until(lambda: (disk.look(), disk.fault())[1] == "", "it is written")
    disk.close(DEADLINE_S)
    assert MINUTES_IN_MEMORY <= len(rows(tmp_path, "minutes")) <= MINUTES_IN_MEMORY + 1


def test_one_that_was_closed_is_opened_again_and_remembers(tmp_path, clock):
    sink = HistorySink(HistorySettings(tmp_path), now=clock, within_s=DEADLINE_S)
    for onset in (100, 1000):
        sink.open()
        sink.tick()
        tell(sink, cry("started", onset, onset + 1.5, episode_id=f"e{onset}"))
        assert f"e{onset}" in [episode["id"] for episode in rows(tmp_path, "episodes")]
        sink.close(DEADLINE_S)
    assert sink.fault() == ""


def pages(folder):
    data = (folder / "history.sqlite").read_bytes()
    return [data[start : start + 4096] for start in range(0, len(data), 4096)]


def test_how_far_a_cry_has_got_costs_a_card_one_row_and_the_levels_come_at_its_end(tmp_path, clock):
    with remembering(tmp_path, clock) as sink:
        tell(sink, cry("started", 0, 1.5, episode_id="before"), cry("ended", 0, 20, episode_id="before"))
        tell(sink, cry("started", 100, 101.5))
        before, minutes = pages(tmp_path), rows(tmp_path, "minutes")
        clock.passes(60)
        tell(sink, level(110), cry("updated", 100, 160, crying_s=50))
        (first, now) = rows(tmp_path, "episodes")
        assert (first["id"], now["crying_s"]) == ("before", 50.0)
        after = pages(tmp_path)
        changed = [number for number, page in enumerate(after) if page != before[number]]
        assert len(after) == len(before)
        assert len(changed) == 2, "the counter of changes and the row"
        assert rows(tmp_path, "minutes") == minutes
        tell(sink, cry("ended", 100, 161, crying_s=51))
        assert sum(m["crying_s"] for m in rows(tmp_path, "minutes")) == pytest.approx(51.0 + 20, abs=5)


def test_the_levels_are_written_every_two_minutes_while_the_baby_cries_too(tmp_path, clock):
    with remembering(tmp_path, clock) as sink:
        tell(sink, cry("started", 0, 1.5))
        for second in range(5, 200, 5):
            clock.passes(5)
            tell(sink, level(second), cry("updated", 0, second, crying_s=second))
            sink.tick()
        assert sum(m["crying_s"] for m in rows(tmp_path, "minutes")) >= 120 - 6


def test_an_onset_that_a_set_clock_has_moved_is_moved(tmp_path):
    with remembering(tmp_path) as sink:
        tell(sink, cry("started", 100, 101.5), cry("ended", 200, 260, crying_s=51))
    (episode,) = rows(tmp_path, "episodes")
    assert episode["onset_s"] == EVENING.timestamp() + 200
    with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
