"""What CI makes of the two stages: a verdict that comes last, and an exit code that hides nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fresh.debian import ROOT

CLOSING = "=========== 2 passed, 1 skipped in 3.45s ==========="


@pytest.fixture
def ci(tmp_path):
    """Run CI's script in a folder where the stages end as named; its exit code and lines."""

    def run(*, test: int = 0, fresh: int = 0, why_not: str = "") -> tuple[int, list[str]]:
        for folder in (".ci", ".venv/bin", "programs"):
            (tmp_path / folder).mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
        make = f'case "$1" in test) echo "{CLOSING}"; exit {test} ;; *) echo "made $*"; exit {fresh} ;; esac'
        program(tmp_path / "programs" / "make", make)
        program(tmp_path / ".venv" / "bin" / "python", f'echo "{why_not}"')
        done = subprocess.run(
            ["bash", tmp_path / ".ci" / "run"],
            env=os.environ | {"PATH": f"{tmp_path}/programs:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()

    return run


def program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_the_suites_verdict_is_the_last_line(ci):
    assert ci() == (0, [CLOSING, "made test-fresh", CLOSING])


def test_where_no_debian_can_be_made_it_says_why_and_passes(ci):
    said = "Not tried in clean Debians: only root can mount."
    assert ci(why_not="only root can mount") == (0, [CLOSING, said, CLOSING])


def test_a_suite_that_fails_is_the_end(ci):
    code, lines = ci(test=2)
    assert (code != 0, lines) == (True, [CLOSING])


def test_a_clean_debian_that_fails_fails_all(ci):
    code, lines = ci(fresh=2)
    assert (code != 0, lines) == (True, [CLOSING, "made test-fresh"])
