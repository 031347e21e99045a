"""What the stage in clean Debians takes from the README, and what it understands of the output."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import pytest

from tests.fresh import debian
from tests.fresh.__main__ import VERDICT, cell, commands
from tests.programs import shellcheck


def test_the_commands_are_those_of_the_readme_without_their_remarks():
    assert commands((debian.ROOT / "README.md").read_text(encoding="utf-8")) == ["make demo", "make test"]


def test_a_readme_without_them_is_noticed():
    with pytest.raises(AssertionError, match="has 0 commands"):
        commands("# Cradlewatch\n\n## Two commands\n\n## Use it\n\n    make demo\n")


def test_a_cell_is_a_debian_and_a_user():
    assert cell("trixie:su") == ("trixie", "su")
    for wrong in ("trixie", "trixie:nobody", "../x:root", ":root"):
        with pytest.raises(argparse.ArgumentTypeError, match="trixie:root"):
            cell(wrong)


def test_the_last_word_of_pytest_and_of_the_demo_is_found():
    said = "PASSED: all 2 cries\n...\n= 7 failed, 2 passed in 3.00s =\n1 passed, 2 skipped in 3.1s\n2 passed"
    assert VERDICT.findall(said) == [
        "PASSED: all 2 cries",
        "7 failed, 2 passed in 3.00s",
        "1 passed, 2 skipped in 3.1s",
        "2 passed",
    ]


def test_shellcheck_finds_nothing():
    assert shellcheck(debian.ENTER, debian.ROOT / ".ci" / "run") == ""


@pytest.mark.skipif(bool(debian.not_to_enter()), reason=debian.not_to_enter())
def test_nothing_stays_mounted_in_it(tmp_path):
    for folder in ("proc", "sys", "dev", "run", "mnt"):
        (tmp_path / folder).mkdir()
    done = subprocess.run(debian.enter(tmp_path, "root", "true"), capture_output=True, text=True, check=False)
    assert done.returncode != 0, "there is no program in it"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
