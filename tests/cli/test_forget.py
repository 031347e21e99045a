"""`cradlewatch forget` on real state folders: what goes is gone from the bytes, what stays is whole."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from monitor.cli import main
from monitor.service.state_folder import open_state_folder
from monitor.sinks.history import HistorySettings, HistorySink
from monitor.sinks.moment import Moment
from monitor.sinks.outbox import Item, Outbox
from tests.broker import DEADLINE_S
from tests.sinks.night_messages import at, confirmed, cry, heard, hint, level, state, trial
from tests.sinks.outboxes import opened

DAY_S = 86_400
NIGHTS = {"2026-11-22": 0, "2026-11-23": DAY_S}


def episode_id(evening, number):
    return f"episode-of-{evening}-{number}"


@pytest.fixture
def kept(tmp_path, two_nights):
    shutil.copytree(two_nights, tmp_path, dirs_exist_ok=True)
    return tmp_path / "state" / "nursery"


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory):
    """What a monitor keeps that ran for two nights, in all its files."""
    tmp_path = tmp_path_factory.mktemp("two-nights")
    folder = tmp_path / "state" / "nursery"
    folder.mkdir(parents=True, mode=0o700)
    sink = HistorySink(HistorySettings(folder))
    sink.tick()
    put_at = []
    outbox = Outbox(folder / "outbox-mqtt.sqlite", now=lambda: Moment(put_at[0], "boot", 1.0))
    outbox.open(within_s=DEADLINE_S)
    (folder / "clips").mkdir()
    causes = {}
    for evening, begin in NIGHTS.items():
        sink.handle(trial(begin))
        for number in range(30):
            name, onset = episode_id(evening, number), begin + number * 300
            for message in (
                cry("started", onset, onset + 2, episode_id=name),
                cry("ended", onset, onset + 60, episode_id=name, cause=hint()),
                heard(onset + 90, name),
                confirmed(onset + 99, episode_id=name),
            ):
                sink.handle(message)
            causes[name] = "tired"
        end = cry("ended", begin, begin + 60, episode_id=name)
        put_at[:] = [at(begin).timestamp()]
        outbox.put(Item(end.event_id, "ended", end.to_json()), remember={f"episode {name}": end.to_json()})
        stamp = f"{at(begin):%Y%m%dT%H%M%SZ}"
        (folder / "clips" / f"{stamp}-{episode_id(evening, 0)}.flac").write_bytes(
            b"fLaC of " + evening.encode()
        )
        log = tmp_path / "events.jsonl"
        with log.open("a") as lines:
            lines.write(end.to_json() + "\n" + level(begin).to_json() + "\n")
    for second in range(0, 2 * DAY_S, 3600):  # one stretch of listening over both nights
        sink._levels._gap_s = 3600
        sink.handle(level(second))
    sink.handle(state(100, "mqtt: The broker is away."))
    sink.close(1.0)
    outbox.close(DEADLINE_S)
    (folder / "causes.json").write_text(json.dumps({"by_episode": causes}))
    last = episode_id("2026-11-23", 29)
    (folder / "night.json").write_text(
        json.dumps({"evening": "2026-11-23", "last_episode_id": last, "last_cry_at": at(DAY_S).isoformat()})
    )
    (folder / "controls.json").write_text('{"sensitivity": 60}')
    (folder / "lock").touch()
    return tmp_path


def forget(folder, *arguments):
    settings = ("device.id=nursery", f"service.state_dir={folder.parent}")
    log = folder.parent.parent / "events.jsonl"
    flags = [part for text in (*settings, f"jsonl.path={log}") for part in ("--set", text)]
    return main(["forget", *arguments, *flags])


def holding(folder, text):
    """Every file, the log beside the folder too, in whose bytes or name ``text`` stands."""
    files = [file for file in folder.parent.parent.rglob("*") if file.is_file()]
    return [file.name for file in files if text.encode() in file.read_bytes() or text in file.name]


def test_a_night_is_gone_from_the_bytes_of_every_file_and_the_other_stays(kept, capfd):
    assert holding(kept, episode_id("2026-11-22", 7))
    assert forget(kept, "--night", "2026-11-22", "--yes") == 0
    assert holding(kept, "episode-of-2026-11-22") == []
    assert set(holding(kept, "episode-of-2026-11-23")) >= {
        "history.sqlite",
        "outbox-mqtt.sqlite",
        "causes.json",
        "night.json",
        "events.jsonl",
    }
    said = capfd.readouterr().out
    assert "Forgotten: the night of 2026-11-22" in said
    assert "1 clip, 30 confirmed causes, 2 undelivered or pending entries, 2 lines of" in said
    with contextlib.closing(sqlite3.connect(kept / "history.sqlite")) as history:
        count = "SELECT count(*) FROM "
        assert history.execute(count + "episodes").fetchone() == (30,)
        assert history.execute(count + "alerts").fetchone() == (1,)
        assert history.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        noon = at(16 * 3600).timestamp()
        assert [begin for (begin,) in history.execute("SELECT begin_s FROM listening")] == [noon]
    with opened(kept / "outbox-mqtt.sqlite") as outbox:
        assert outbox.waiting() == 1
    assert (kept / "controls.json").exists()
    assert [clip.read_bytes() for clip in (kept / "clips").iterdir()] == [b"fLaC of 2026-11-23"]


def test_before_a_date_means_before_its_night(kept):
    assert forget(kept, "--before", "2026-11-22", "--yes") == 0
    assert holding(kept, "episode-of-2026-11-22")
    assert forget(kept, "--before", "2026-11-23", "--yes") == 0
    assert holding(kept, "episode-of-2026-11-22") == []
    assert holding(kept, "episode-of-2026-11-23")


def test_the_tally_forgets_its_last_cry_with_the_night_of_that_cry(kept):
    night = {"evening": "2026-11-24", "last_episode_id": episode_id("2026-11-23", 29)}
    (kept / "night.json").write_text(json.dumps(night))
    assert forget(kept, "--night", "2026-11-23", "--yes") == 0
    left = json.loads((kept / "night.json").read_text())
    assert (left["evening"], left["last_episode_id"]) == ("2026-11-24", None)


def test_all_leaves_the_settings_alone(kept):
    (kept / "history.sqlite.damaged-1").write_bytes(b"episode-of-2026-11-22")
    assert forget(kept, "--all", "--yes") == 0
    assert sorted(file.name for file in kept.iterdir()) == ["controls.json", "lock"]
    assert holding(kept, "episode-of") == []


def test_damaged_copies_go_with_any_night_for_nobody_can_tell_what_is_in_them(kept):
    (kept / "history.sqlite.damaged-1").write_bytes(b"episode-of-2026-11-22-1")
    (kept / "causes.damaged").write_bytes(b"{")
    assert forget(kept, "--night", "2026-11-22", "--yes") == 0
    assert not list(kept.glob("*damaged*"))


def test_while_the_service_runs_nothing_is_deleted_and_that_is_said(kept, capfd):
    running = open_state_folder(kept)
    assert forget(kept, "--all", "--yes") == 2
    assert "nothing was deleted. Stop it" in capfd.readouterr().err
    assert holding(kept, "episode-of-2026-11-22")
    running.close()
    assert forget(kept, "--all", "--yes") == 0


def test_a_report_that_is_open_meanwhile_makes_it_fail_loudly_instead_of_leaving_data(
    kept, capfd, monkeypatch
):
    monkeypatch.setattr("monitor.sinks.erase.BUSY_S", 0.05)
    with contextlib.closing(sqlite3.connect(kept / "history.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM episodes").fetchone()
        assert forget(kept, "--night", "2026-11-22", "--yes") == 1
    assert "Not all could be deleted" in capfd.readouterr().err
    assert forget(kept, "--night", "2026-11-22", "--yes") == 0
    assert holding(kept, "episode-of-2026-11-22") == []


def test_without_yes_and_without_anybody_to_ask_nothing_is_deleted(kept, capfd):
    assert forget(kept, "--all") == 2
    assert "Add --yes" in capfd.readouterr().err
    assert holding(kept, "episode-of-2026-11-22")


def test_causes_of_nights_that_are_not_remembered_stay_and_are_mentioned(kept, capfd):
    causes = json.loads((kept / "causes.json").read_text())
    causes["by_episode"]["pruned-long-ago"] = "hungry"
    (kept / "causes.json").write_text(json.dumps(causes))
    assert forget(kept, "--night", "2026-11-22", "--yes") == 0
    assert "1 confirmed cause of nights that are not remembered stayed" in capfd.readouterr().out
    assert "pruned-long-ago" in json.loads((kept / "causes.json").read_text())["by_episode"]


@pytest.mark.parametrize("damage", [b"no database " * 500, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_history_is_said_and_all_deletes_it(kept, capfd, damage):
    (kept / "history.sqlite").write_bytes(damage)
    assert forget(kept, "--night", "2026-11-22", "--yes") == 1
    assert "forget --all" in capfd.readouterr().err
    assert forget(kept, "--all", "--yes") == 0
    assert not (kept / "history.sqlite").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--night", "2026-13-01"), "--night 2026-13-01 names no night. Write the date"),
        (("--before", "soon"), "--before soon names no night."),
        (("--night", "9999-12-31"), "--night 9999-12-31 names no night."),
        (("--night", "2999-01-01"), "The night of 2999-01-01 has not begun"),
    ],
)
def test_what_is_no_night_is_refused_in_one_sentence(kept, capfd, arguments, sentence):
    assert forget(kept, *arguments, "--yes") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert sentence in line


def test_a_folder_that_is_not_there_is_named(tmp_path, capfd):
    assert main(["forget", "--all", "--yes", "--set", f"service.state_dir={tmp_path}"]) == 2
    assert str(tmp_path / "cradlewatch") in capfd.readouterr().err


def test_what_was_open_over_noon_is_cut_and_keeps_its_other_parts(kept):
    assert forget(kept, "--night", "2026-11-23", "--yes") == 0
    with contextlib.closing(sqlite3.connect(kept / "history.sqlite")) as history:
        stretches = history.execute("SELECT begin_s, end_s FROM listening ORDER BY 1").fetchall()
    noon = at(16 * 3600).timestamp()
    assert stretches == [
        (at(0).timestamp(), noon),
        (noon + DAY_S, at(2 * DAY_S - 3600).timestamp()),
    ]


def test_the_lines_of_a_log_keep_their_rights(kept):
    log = Path(kept.parent.parent / "events.jsonl")
    log.chmod(0o640)
    assert forget(kept, "--night", "2026-11-22", "--yes") == 0
    assert log.stat().st_mode & 0o777 == 0o640
    assert len(log.read_text().splitlines()) == 2


def test_an_event_log_that_holds_something_else_keeps_it(kept, capfd):
    log = kept.parent.parent / "events.jsonl"
    log.write_bytes(b"RIFF, a recording")
    assert forget(kept, "--all", "--yes") == 1
    assert "holds other things than messages" in capfd.readouterr().err
    assert log.read_bytes() == b"RIFF, a recording"


def test_a_link_to_the_event_log_stays_one(kept):
    log = kept.parent.parent / "events.jsonl"
    log.rename(log.with_name("real.jsonl"))
    log.symlink_to("real.jsonl")
    assert forget(kept, "--all", "--yes") == 0
    assert log.is_symlink()
    assert log.read_bytes() == b""
