"""`cradlewatch report` on histories that a real sink has written, beside a service that still writes."""

import contextlib
import json
import os
import re
import sqlite3
import sys
import time
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from monitor.cli import main
from monitor.cli import night_canvas as canvas_module
from monitor.cli.night_picture import HEIGHT, WIDTH
from monitor.cli.report_words import timeline
from monitor.events.night import span_of
from monitor.sinks.history import HistorySettings, HistorySink
from monitor.sinks.history_night import night_facts
from monitor.sinks.history_reader import HistoryReader
from tests.sinks.night_messages import EVENING, at, confirmed, cry, delivery, heard, hint, level, state, trial

LOST = "The microphone delivers no audio: it was there and stopped delivering."


@contextlib.contextmanager
def zone(name):
    """The whole process in a time zone."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


@pytest.fixture(autouse=True)
def _utc():
    with zone("UTC"):
        yield


def a_night(folder):
    """From 20:00 to 02:00 with two cries, a microphone lost for half an hour and a test alert."""
    folder.mkdir(parents=True, exist_ok=True)
    sink = HistorySink(HistorySettings(folder))
    sink.tick()
    sink.handle(trial(60))
    for second in range(0, 6 * 3600 + 1, 10):
        lost = 3 * 3600 < second < 3.5 * 3600
        if not lost:
            sink.handle(level(second, -40 if 3600 < second < 3900 else -60))
        if second == 3600:
            sink.handle(cry("started", 3600, 3602, episode_id="e1"))
            sink.handle(delivery(3603.5))
            sink.handle(heard(3641.5, "e1"))
        if second == 3900:
            sink.handle(cry("ended", 3600, 3900, crying_s=200, episode_id="e1", cause=hint(), escalation=3))
            sink.handle(confirmed(3901, "tired", "e1"))
        if second == 7200:
            sink.handle(cry("started", 7200, 7202, episode_id="e2"))
            sink.handle(cry("ended", 7200, 7260, episode_id="e2", cause=hint("unsure")))
        if second == 3 * 3600:
            sink.handle(state(second, LOST, microphone_ok=False, fault=True))
        if second == 3.5 * 3600:
            sink.handle(state(second))
    sink._write()
    return sink


@pytest.fixture(scope="module")
def remembered(tmp_path_factory):
    """Its service still runs."""
    folder = tmp_path_factory.mktemp("state") / "nursery"
    sink = a_night(folder)
    yield folder
    sink.close(1.0)


def report(folder, *arguments):
    settings = ("device.id=nursery", "device.name=Nursery", f"service.state_dir={folder.parent}")
    return main(["report", *arguments, *[part for text in settings for part in ("--set", text)]])


def test_the_night_is_told_in_words(remembered, capsys):
    assert report(remembered, "--night", "2026-11-22") == 0
    text = capsys.readouterr().out
    assert "Nursery: night of Sunday, 22 November 2026" in text
    assert "Listened      5 h 30 min, 20:00 to 02:00, interrupted once (30 min 00 s in all)" in text
    assert "Crying        4 min 20 s in 2 episodes" in text
    # From the lost microphone to the end; the half hour in which nobody listened is no calm.
    assert "Longest calm  2 h 30 min, 23:30 to 02:00" in text
    first, second = re.findall(r"^2[12]:00:00 .*$", text, re.MULTILINE)
    assert re.split(r" {2,}", first) == [
        "21:00:00",
        "5 min 00 s",
        "3 min 20 s",
        "hungry 62% (usually 40%); a parent said tired",
        "told after 2 s, acknowledged after 40 s (phone)",
        "escalated 3 times",
    ]
    assert re.split(r" {2,}", second) == [
        "22:00:00",
        "1 min 00 s",
        "1 min 00 s",
        "unsure",
        "not acknowledged",
    ]
    assert "20:01:00  a test alert (daily)" in text
    assert "1 push message was delivered" in text
    assert re.search(rf"23:00:00 +30 min 00 s  {LOST}", text)


def test_json_has_the_same_facts(remembered, capsys):
    assert report(remembered, "--night", "2026-11-22", "--json") == 0
    night = json.loads(capsys.readouterr().out)
    assert (night["schema"], night["device"], night["night"]) == (1, "nursery", "2026-11-22")
    assert (night["begin"], night["end"]) == ("2026-11-22T12:00:00.000Z", "2026-11-23T12:00:00.000Z")
    assert (night["listened_s"], night["crying_s"]) == (19_800, 260)
    assert night["longest_calm"] == {
        "begin": "2026-11-22T23:30:00.000Z",
        "end": "2026-11-23T02:00:00.000Z",
        "length_s": 9000,
    }
    assert night["causes"] == {"hungry": 1, "unsure": 1}
    first, second = night["episodes"]
    assert first["cause"] == {"answer": "hungry", "probability": 0.62, "base_rate": 0.4}
    assert (first["told_after_s"], first["acknowledged_after_s"], first["acknowledged_by"]) == (
        2,
        40,
        "phone",
    )
    assert (first["confirmed_cause"], first["escalations"]) == ("tired", 3)
    assert (second["acknowledged_at"], second["told_after_s"]) == (None, None)
    (fault,) = night["faults"]
    assert (fault["kind"], fault["reason"], fault["length_s"]) == ("microphone", LOST, 1800)
    assert [alert["kind"] for alert in night["alerts"]] == ["test", "delivery"]
    assert len(night["minutes"]) == pytest.approx(330, abs=2)
    assert all(one["begin"] < other["begin"] for one, other in pairwise(night["minutes"]))


def test_the_latest_nights_are_a_line_each(remembered, capsys):
    assert report(remembered, "--last", "3") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.startswith("night")
    assert re.split(r" {2,}", row) == [
        *("2026-11-22", "5 h 30 min", "4 min 20 s", "2", "2 h 30 min", "1 of 2", "1"),
    ]
    assert report(remembered, "--last", "3", "--json") == 0
    assert [night["night"] for night in json.loads(capsys.readouterr().out)] == ["2026-11-22"]


def test_the_line_of_hours_shows_crying_calm_and_what_was_not_heard(remembered):
    with HistoryReader(remembered / "history.sqlite") as reader:
        facts = night_facts(reader.between(*(one.timestamp() for one in span_of(date(2026, 11, 22)))))
    hours, cells = timeline(facts, ascii_only=True)
    assert hours.split() == ["20", "21", "22", "23", "00", "01"]
    assert len(cells) == 72
    five_minutes = {0: "-", 12: "#", 13: "-", 24: "+", 36: "!", 41: "!", 42: "-", 71: "-"}
    assert {index: cells[index] for index in five_minutes} == five_minutes


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--night", "2026-11-20"), 1, "Nothing is remembered of the night of 2026-11-20"),
        (("--night", "2999-01-01"), 2, "The night of 2999-01-01 has not begun"),
        (("--night", "tomorrow"), 2, "--night tomorrow names no night."),
        (("--night", "2026-02-30"), 2, "--night 2026-02-30 names no night."),
        (("--night", "0001-01-01"), 2, "--night 0001-01-01 names no night."),
        (("--last", "3", "--png", "x.png"), 2, "--png draws one night"),
    ],
)
def test_what_cannot_be_told_is_said_in_one_sentence(remembered, capsys, arguments, code, sentence):
    assert report(remembered, *arguments) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


def test_no_history_is_said(tmp_path, capsys):
    (tmp_path / "nursery").mkdir()
    assert report(tmp_path / "nursery") == 1
    assert "No night is remembered in" in capsys.readouterr().err
    assert report(tmp_path / "nursery", "--set", "history.enabled=false") == 1
    assert "history.enabled is false" in capsys.readouterr().err
    assert list((tmp_path / "nursery").iterdir()) == [], "to read leaves nothing behind"


def test_a_history_without_a_night_is_said(tmp_path, capsys):
    folder = tmp_path / "nursery"
    folder.mkdir()
    sink = HistorySink(HistorySettings(folder))
    sink.tick()
    sink.close(1.0)
    assert report(folder) == 1
    assert "No night is remembered yet." in capsys.readouterr().err
    assert report(folder, "--last", "2") == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database " * 400),
        lambda path: path.write_bytes(b""),
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b"SQLite format 3\0" + b"\x00\xff" * 3000),
    ],
)
def test_a_damaged_history_is_said_and_left_as_it_is(tmp_path, capsys, damage):
    folder = tmp_path / "nursery"
    folder.mkdir()
    damage(folder / "history.sqlite")
    assert report(folder) == 1
    assert "The history cannot be read" in capsys.readouterr().err
    assert [file.name for file in folder.iterdir()] == ["history.sqlite"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE episodes SET until_s = 1e300", 1),
        ("UPDATE faults SET end_s = 9e999", 1),
        ("UPDATE minutes SET minute = 4611686018427387904 WHERE rowid = (SELECT min(rowid) FROM minutes)", 0),
        ("UPDATE alerts SET detail = 'nonsense'", 0),
        ("""UPDATE alerts SET detail = '{"delivered": "x", "channels": 3, "state": []}'""", 0),
    ],
)
def test_values_that_a_flipped_bit_has_made_are_no_traceback(tmp_path, capsys, change, code):
    folder = tmp_path / "nursery"
    a_night(folder).close(1.0)
    with contextlib.closing(sqlite3.connect(folder / "history.sqlite")) as damaged:
        damaged.execute(change)
        damaged.commit()
    for form in ((), ("--json",)):
        assert report(folder, "--night", "2026-11-22", *form) == code
        assert ("is damaged" in capsys.readouterr().err) == (code == 1)


def test_a_history_of_a_newer_version_is_said(tmp_path, capsys):
    folder = tmp_path / "nursery"
    a_night(folder).close(1.0)
    with contextlib.closing(sqlite3.connect(folder / "history.sqlite")) as newer:
        newer.execute("PRAGMA user_version = 99")
    assert report(folder) == 1
    assert "has format 99, this version reads 1" in capsys.readouterr().err


def test_a_night_in_which_nothing_was_heard_is_not_called_calm(tmp_path, capsys):
    folder = tmp_path / "nursery"
    folder.mkdir()
    sink = HistorySink(HistorySettings(folder))
    sink.tick()
    sink.handle(state(0, LOST, microphone_ok=False, fault=True))
    sink.handle(state(3600))
    sink.close(1.0)
    assert report(folder, "--night", "2026-11-22") == 0
    text = capsys.readouterr().out
    assert "Listened      not at all" in text
    assert "Longest calm  none" in text
    assert "that no crying was heard means nothing" in text


@pytest.mark.parametrize(("evening", "hours"), [("2026-10-24", 25), ("2026-03-28", 23), ("2026-11-22", 24)])
def test_a_night_in_which_the_clocks_change_has_its_own_length(tmp_path, capsys, evening, hours):
    with zone("Europe/Berlin"):
        begin = datetime.fromisoformat(f"{evening}T22:00").replace(tzinfo=ZoneInfo("Europe/Berlin"))
        offset_s = (begin - EVENING).total_seconds()
        folder = tmp_path / "nursery"
        folder.mkdir()
        sink = HistorySink(HistorySettings(folder))
        sink.tick()
        for second in range(0, 6 * 3600 + 1, 20):
            sink.handle(level(offset_s + second))
        sink.close(1.0)
        assert report(folder, "--night", evening) == 0
        text = capsys.readouterr().out
        first, last = span_of(date.fromisoformat(evening))
    assert (last - first) / timedelta(hours=1) == hours
    assert ("The clocks change" in text) == (hours != 24)
    # Six hours of listening, whatever the clock on the wall says.
    ends_at = {25: "03:00", 23: "05:00", 24: "04:00"}[hours]
    assert f"Listened      6 h 00 min, 22:00 to {ends_at}" in text


def test_an_early_morning_belongs_to_the_evening_before(tmp_path, capsys):
    folder = tmp_path / "nursery"
    folder.mkdir()
    sink = HistorySink(HistorySettings(folder))
    sink.tick()
    sink.handle(cry("started", 15.9 * 3600, 15.9 * 3600 + 2, episode_id="noon"))
    sink.handle(cry("started", 16.1 * 3600, 16.1 * 3600 + 2, episode_id="afternoon"))
    sink.close(1.0)
    assert report(folder, "--night", "2026-11-22", "--json") == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["episodes"]] == ["noon"]


BOOTED_S = -9 * 3600.0
"""Where the clock stood at boot: nine hours back, in the night before."""


def test_a_cry_that_goes_on_while_a_wrong_clock_is_set_is_of_this_night(tmp_path, capsys):
    folder = tmp_path / "nursery"
    folder.mkdir()
    sink = HistorySink(HistorySettings(folder))
    sink.handle(state(BOOTED_S, "mqtt: The broker is away.").model_copy(update={"uptime_s": 0.0}))
    sink.handle(level(BOOTED_S))
    sink.handle(cry("started", BOOTED_S + 3, BOOTED_S + 5))
    # The time server answers, 12 s after the onset.
    began = {"onset_at": at(BOOTED_S + 3), "detected_at": at(BOOTED_S + 4.5)}
    sink.handle(state(15, "mqtt: The broker is away.").model_copy(update={"uptime_s": 15.0}))
    sink.handle(cry("updated", 3, 15).model_copy(update=began))
    sink._write()
    arguments = (folder, "--night", "2026-11-22")
    assert report(*arguments) == 0
    text = capsys.readouterr().out
    assert "Crying        12 s in 1 episode, which goes on" in text
    assert re.search(r"20:00:03 +12 s .* goes on", text)
    sink.handle(cry("ended", 3, 20, crying_s=17).model_copy(update=began))
    sink.handle(heard(21))
    sink.handle(state(30).model_copy(update={"uptime_s": 30.0}))
    for second in range(20, 41, 10):
        sink.handle(level(second))
    sink.close(1.0)
    assert report(*arguments) == 0
    text = capsys.readouterr().out
    assert "Crying        17 s in 1 episode\n" in text
    assert "acknowledged after 16 s" in text
    (fault,) = [line for line in text.splitlines() if "The broker is away" in line]
    assert re.search(r"20:00:15 +15 s ", fault)
    assert "9 h" not in text
    assert report(*arguments, "--json") == 0
    (episode,) = json.loads(capsys.readouterr().out)["episodes"]
    assert (episode["onset"], episode["end"]) == ("2026-11-22T20:00:03.000Z", "2026-11-22T20:00:20.000Z")


def test_a_picture_shows_the_night(remembered, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image", reason="Pillow, the extra `picture`, is not installed")
    file = tmp_path / "night.png"
    assert report(remembered, "--night", "2026-11-22", "--png", str(file)) == 0
    assert file.stat().st_mode & 0o077 == 0
    with image.open(file) as picture:
        assert picture.size == (WIDTH, HEIGHT)
        colours = {colour for count, colour in picture.convert("RGB").getcolors(WIDTH * HEIGHT) if count > 60}
    crying, listened, fault = (0xCF, 0x3F, 0x4F), (0x7C, 0xB0, 0x8A), (0xE0, 0x9B, 0x3D)
    assert {crying, listened, fault} <= colours
    assert report(remembered, "--png", str(tmp_path / "absent" / "x.png")) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_picture_replaces_a_picture_of_ours_and_nothing_else(remembered, tmp_path, capsys):
    image = pytest.importorskip("PIL.Image", reason="Pillow, the extra `picture`, is not installed")
    file = tmp_path / "night.png"
    arguments = (remembered, "--night", "2026-11-22", "--png", str(file))
    assert report(*arguments) == 0
    assert report(*arguments) == 0
    image.new("RGB", (10, 10)).save(file)
    mine = file.read_bytes()
    assert report(*arguments) == 2
    assert "exists, and Cradlewatch has not written it" in capsys.readouterr().err
    assert file.read_bytes() == mine
    assert report(*arguments, "--force") == 0
    assert file.read_bytes() != mine
    history = remembered / "history.sqlite"
    before = history.read_bytes()
    for target in (history, tmp_path / "x.wav"):
        assert report(remembered, "--night", "2026-11-22", "--force", "--png", str(target)) == 2
    assert history.read_bytes() == before
    assert not (tmp_path / "x.wav").exists()


def test_without_the_extra_a_picture_is_refused_with_the_remedy(remembered, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)  # as if it were not there
    assert report(remembered, "--png", str(tmp_path / "night.png")) == 2
    assert "pip install 'cradlewatch[picture]'" in capsys.readouterr().err
    assert not (tmp_path / "night.png").exists()
    assert canvas_module.Canvas


def test_a_report_neither_waits_for_the_service_nor_holds_it_up(tmp_path, capsys):
    folder = tmp_path / "nursery"
    sink = a_night(folder)
    with contextlib.closing(sqlite3.connect(folder / "history.sqlite", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert report(folder, "--night", "2026-11-22") == 0
        writer.execute("ROLLBACK")
    with HistoryReader(folder / "history.sqlite") as reader:
        before = len(reader.between(at(0).timestamp(), at(86_400).timestamp()).episodes)
        sink.handle(cry("started", 20_000, 20_002, episode_id="meanwhile"))
        assert sink.fault() == ""
        assert len(reader.between(at(0).timestamp(), at(86_400).timestamp()).episodes) == before + 1
    sink.close(1.0)
