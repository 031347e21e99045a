"""What helpers are started with, and what is said of how they ended."""

import signal
import sys

import pytest

from monitor.helper_process import environment, how_it_ended
from tests.access import out_of_reach


def test_folders_of_somebody_else_are_not_handed_on(tmp_path):
    """`su` without `-` keeps root's."""
    (tmp_path / "root").mkdir()
    with out_of_reach(tmp_path / "root") as theirs:
        given = environment({"HOME": str(theirs), "XDG_RUNTIME_DIR": f"{theirs}/run", "LANG": "C"})
        assert "XDG_RUNTIME_DIR" not in given
        assert given["HOME"] != str(theirs)
        assert given["LANG"] == "C"


def test_our_own_folders_are_handed_on(tmp_path):
    ours = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "not made yet")}
    given = environment(ours)
    assert given.items() >= ours.items()
    assert given["PYTHONPATH"].split(":") == [entry or "." for entry in sys.path]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "ended with status 1"),
        (-signal.SIGABRT, "was ended by SIGABRT"),
        (-signal.SIGKILL, "was ended by SIGKILL"),
        (-99, "was ended by signal 99"),
    ],
)
def test_how_it_ended(status, words):
    assert how_it_ended(status) == words
