"""A slice of the fuzzing, and that it finds what there is to find; ``python -m tests.fuzz`` is the whole."""

import random
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.broker import Mosquitto
from tests.fuzz.target import CANARY, NotClearError, check_clear
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SLOW_TO_BEGIN = {"hub commands, wire", "scan", "model files"}


def fuzz(program, tmp_path):
    """Run in a process of its own: it forks, which a test run with its threads must not."""
    return subprocess.run(
        [sys.executable, *program, "--folder", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=280,
        check=False,
    )


@pytest.mark.timeout(300)  # seconds on a machine of its own
def test_some_hundred_inputs_of_each_kind_crash_and_hang_nothing(tmp_path):
    Mosquitto(tmp_path / "here")  # skips where there is none
    names = [kind.name for kind in TARGETS if kind.name not in SLOW_TO_BEGIN]
    only = [part for name in names for part in ("--only", name)]
    done = fuzz(["-m", "tests.fuzz", "--inputs", "400", "--seed", "11", *only], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = dict(re.findall(r"^(.*?) {2,}(\d+) ", done.stdout, re.MULTILINE))
    assert all(int(figures[name]) >= 2 for name in names)
    assert int(figures["in all"]) >= 400


BAD = textwrap.dedent(
    """
    import os, sys, time
    from tests.fuzz import __main__, target

    def bad(wrong):
        class Bad(target.Target):
            name, share, limit_s, memory_mb = wrong.__name__, 1, 1.0, 256

            def make(self, rng):
                return rng.random()

            def feed(self, given):
                self.count = getattr(self, "count", -1) + 1
                return wrong() or "" if self.count == 3 else ""

        return Bad

    def raises(): raise KeyError("a bug")
    def hangs(): time.sleep(60)
    def dies(): os.abort()
    def eats(): bytes(1 << 30)
    def mumbles(): return "KeyError"

    __main__.TARGETS[:] = map(bad, (raises, hangs, dies, eats, mumbles))
    sys.exit(__main__.main())
    """
)
SHOWN = {
    "raises": "KeyError: 'a bug'",
    "hangs": "it hung",
    "dies": "died with -6",
    "eats": "MemoryError",
    "mumbles": "it is no sentence",
}


@pytest.mark.timeout(300)
def test_what_goes_wrong_is_found_and_the_inputs_behind_it_are_tried(tmp_path):
    done = fuzz(["-c", BAD, "--inputs", "100"], tmp_path)
    assert done.returncode == 1, done.stderr
    rows = {row.split()[0]: [int(cell) for cell in row.split()[1:6]] for row in done.stdout.splitlines()[1:6]}
    for name, shown in SHOWN.items():
        found = [path.read_text() for path in (tmp_path / "run" / "findings").glob(f"{name}-*")]
        assert len(found) >= 4, "each quarter of the inputs has one"
        assert all(shown in text for text in found), found
        inputs, rejected, accepted, crashes, hangs = rows[name]
        assert (inputs, rejected, accepted) == (20, 0, 20 - len(found))
        assert (crashes, hangs) == ((0, len(found)) if name == "hangs" else (len(found), 0))


@pytest.mark.parametrize(
    "text",
    [
        "mqtt.port is wrong",
        "Traceback (most recent call last):",
        f"The password {CANARY} is wrong.",
        "x" * 5000 + ".",
    ],
)
def test_what_no_parent_could_act_on_is_no_clear_sentence(text):
    with pytest.raises(NotClearError):
        check_clear(text)


def test_the_same_number_is_the_same_input():
    for kind in TARGETS:
        if kind.name in {"model manifests", "model files"}:
            continue  # they read the released models where they are made
        subject = object.__new__(kind)
        assert repr(kind.make(subject, random.Random("7"))) == repr(kind.make(subject, random.Random("7")))
