"""A small run of the kills around push; ``python -m tests.soak.push_kills --kills 500`` is the whole one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.push_account import account

ROOT = Path(__file__).parents[2]


def test_kills_at_random_moments_lose_and_double_no_alert(tmp_path):
    # As a command: it forks, which a test run with its threads must not.
    command = [sys.executable, "-m", "tests.soak.push_kills", "--kills", "10", "--seed", "3"]
    done = subprocess.run(
        [*command, "--pause-s", "0.5", "--folder", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = dict(re.findall(r"^ *(.*?) {2,}(\d+)$", done.stdout, re.MULTILINE))
    assert figures["LOST"] == figures["DOUBLED"] == "0"
    assert all(int(figures[f"kills of the {name}"]) > 0 for name in ("monitor", "receiver"))
    assert int(figures["of which received"]) > 0


# --- the account counts what it has to ----------------------------------------------------------------


class Books:
    """Journals as a run leaves them."""

    def __init__(self, folder):
        self.folder = folder
        self.at_s = 0.0
        self.write("received", what="refuse", channel="Mum", title="t", text="never kept", key="")

    def write(self, name, **line):
        with (self.folder / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def handle(self, kind="episode", **facts):
        for did in ("handling", "handled"):
            self.write("promised", did=did, kind=kind, event_id="7", **facts)

    def put(self, key, *, tag="", to=("Mum", "Dad"), promised=True, after_s=1.0, outdates=""):
        self.at_s += after_s
        line = {"key": key, "tag": tag or key, "title": "t", "text": key, "urgency": 2, "recipients": to}
        line["outdates"] = outdates
        self.write("promised", did="raising", at_s=self.at_s, **line)
        if promised:
            self.write("promised", did="raised", key=key)

    def receive(self, key, *, to=("Mum", "Dad"), what="answer"):
        for channel in to:
            shown = "" if channel == "Dad" else key  # Dad's is shaped like ntfy
            self.write("received", what=what, channel=channel, title="t", text=key, key=shown)

    def account(self):
        return account(self.folder, 0.3)


@pytest.fixture
def books(tmp_path):
    return Books(tmp_path)


def test_what_was_promised_and_did_not_come_is_lost(books):
    books.put("test-1", tag="test")
    books.receive("test-1", to=("Dad",))
    books.receive("test-1", to=("Mum",), what="forget")
    assert books.account().lost == ["test-1 to Mum"]


def test_what_a_kill_cut_short_is_no_promise(books):
    books.put("test-1", tag="test", promised=False)
    assert books.account().lost == []


def test_a_repeat_under_its_key_is_counted_and_not_doubled(books):
    books.put("test-1", tag="test")
    books.receive("test-1")
    books.receive("test-1", what="hang up")
    found = books.account()
    assert (found.lost, found.doubled) == ([], [])
    assert found.figures["repeats that the key removes"] == 2


def test_a_newer_one_takes_the_place_of_an_older_one_only_when_it_comes(books):
    books.put("test-1", tag="test")
    books.put("test-2", tag="test", promised=False)
    assert books.account().lost == ["test-1 to Mum", "test-1 to Dad"]
    books.receive("test-2")
    assert books.account().lost == []


@pytest.mark.parametrize(("event_type", "lost"), [("ended", []), ("updated", ["cry-e.1 to Mum"])])
def test_only_an_end_is_a_reason_to_withdraw(books, event_type, lost):
    books.put("cry-e.1", tag="cry-e", to=("Mum",))
    books.handle(event_type=event_type, episode_id="e")
    books.write("promised", did="withdrawing", tag="cry-e")
    books.put("cry-e.calm", to=("Mum",))
    books.receive("cry-e.calm", to=("Mum",))
    assert books.account().lost == lost


def test_what_expired_is_told_apart_from_what_was_lost(books):
    books.put("test-1", tag="test", to=("Mum",))
    log = {"event": "push.given_up", "channel": "Mum", "key": "test-1"}
    (books.folder / "monitor.log").write_text(json.dumps(log) + "\n")
    found = books.account()
    assert (found.lost, found.figures["  of which expired"]) == ([], 1)


def test_what_was_handled_has_to_lead_to_an_alert(books):
    books.handle("test")
    books.put("cry-e.1", tag="cry-e")
    books.receive("cry-e.1")
    books.put("fault-microphone-S.1", tag="fault-microphone")
    books.receive("fault-microphone-S.1")
    assert books.account().lost == [
        "test 7 was handled and not raised",
        "cry-e: told, and no word of how it went on",
        "fault-microphone-S.1: told, and no all-clear",
    ]


@pytest.mark.parametrize(("outdates", "lost"), [("outcome", 0), ("", 1)])
def test_a_word_that_was_kept_by_a_hair_counts_when_the_next_alarm_replaced_it(books, outdates, lost):
    books.put("cry-e.1", tag="cry-e")
    books.receive("cry-e.1")
    books.put("cry-e.calm", tag="outcome", promised=False)
    books.put("cry-f.1", tag="cry-f", outdates=outdates)
    books.put("cry-f.calm", tag="cry-f")
    for key in ("cry-f.1", "cry-f.calm"):
        books.receive(key)
    assert books.account().lost == ["cry-e: told, and no word of how it went on"] * lost


def test_two_words_about_one_end_and_alarms_without_a_pause_are_doubled(books):
    for key in ("cry-e.1", "cry-e.2"):
        books.put(key, tag="cry-e", after_s=0.2)
        books.receive(key)
    for key in ("cry-e.calm", "cry-e.restarted"):
        books.put(key)
        books.receive(key, to=("Mum",))
        books.receive(key, to=("Dad",) if key == "cry-e.calm" else ())
    assert books.account().doubled == [
        "cry-e to Mum: calm and restarted",
        "cry-e.1 and cry-e.2 to Mum",
        "cry-e.1 and cry-e.2 to Dad",
    ]


def test_a_key_that_is_promised_again_is_doubled(books):
    books.put("test-1", tag="test")
    books.receive("test-1")
    books.put("test-1", tag="test")
    assert books.account().doubled == ["test-1 was promised 2 times"]


def test_what_nobody_sent_is_told(books):
    books.receive("strange", to=("Dad",))
    assert books.account().lost == ["unknown: t / strange to Dad: not ours"]
