"""A small run of the randomized kills; ``python -m tests.soak.kills --kills 500`` is the whole one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.soak.kills import account

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.broker


@pytest.fixture
def installed(tmp_path):
    Mosquitto(tmp_path / "here")  # skips where there is none


def test_kills_at_random_moments_lose_and_double_nothing(installed, tmp_path):
    # As a command: it forks, which a test run with its threads must not.
    command = [sys.executable, "-m", "tests.soak.kills", "--kills", "12", "--seed", "4"]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = dict(re.findall(r"^(.*?) {2,}(\d+)$", done.stdout, re.MULTILINE))
    assert figures["LOST"] == figures["DOUBLED starts or ends"] == "0"
    assert all(int(figures[f"kills of the {name}"]) > 0 for name in ("monitor", "broker", "consumer"))
    assert int(figures["episodes begun (accepted)"]) >= 5


def line(episode, kind, number, *, truncated="false"):
    return (
        f'{{"topic": "cry", "episode_id": "{episode}", "event_type": "{kind}", '
        f'"event_id": "{number}", "truncated": {truncated}}}\n'
    )


def test_the_account_tells_lost_from_doubled_from_repeated(tmp_path):
    accepted = [
        line("a", "started", 1),
        line("b", "started", 3),
        line("b", "ended", 4),
        line("c", "started", 5),
    ]
    received = [
        line("a", "started", 1),
        line("a", "started", 1),
        line("b", "started", 3),
        line("b", "ended", 40),
        line("b", "ended", 41, truncated="true"),
        '{"topic": "cry", "epis',
    ]
    (tmp_path / "accepted.jsonl").write_text("".join(accepted))
    (tmp_path / "received.jsonl").write_text("".join(received))
    found = account(tmp_path)
    assert sorted(found.lost) == ["4", "5", "a has no end", "c has no end"]
    assert found.doubled == ["b ended"]
    assert (found.repeats, found.received, found.cut_short) == (1, 4, 1)
