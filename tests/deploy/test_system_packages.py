"""The script that installs Debian packages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.programs import shellcheck

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "system-packages.sh"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def machine(tmp_path):
    """A PATH on which no package is installed and the package manager writes down what it is asked."""
    programs = {
        "dpkg-query": "exit 1",
        "id": "echo ${FAKE_UID:-0}",
        "apt-get": 'echo "apt-get $*" >> "$ASKED"',
        "sudo": 'echo "sudo" >> "$ASKED"; exec "$@"',
        "python3": "exit 0",
        "uname": "echo ${FAKE_MACHINE:-x86_64}",
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin", "ASKED": str(tmp_path / "asked")}


def test_shellcheck_finds_nothing():
    assert shellcheck(SCRIPT) == ""


@pytest.mark.parametrize("arguments", [(), ("all",)])
def test_without_a_known_purpose_it_says_how_it_is_used(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_missing_packages_are_installed(machine):
    done = run("run", **machine)
    assert done.returncode == 0, done.stderr
    asked = Path(machine["ASKED"]).read_text().splitlines()
    assert asked == [
        "apt-get update -qq",
        "apt-get install -y -qq --no-install-recommends libportaudio2",
    ]


def test_whoever_is_not_root_is_helped_by_sudo(machine):
    assert run("run", **machine, FAKE_UID="1000").returncode == 0
    asked = Path(machine["ASKED"]).read_text().splitlines()
    assert asked[0::2] == ["sudo", "sudo"]


def test_shellcheck_is_a_package_where_it_has_no_wheel(machine):
    for name in ("x86_64", "aarch64"):
        assert run("test", **machine, FAKE_MACHINE=name).returncode == 0
    with_wheel, without = Path(machine["ASKED"]).read_text().splitlines()[1::2]
    assert without == f"{with_wheel} shellcheck"


def test_where_nothing_is_missing_nothing_is_asked_for(machine):
    query = Path(machine["ASKED"]).with_name("dpkg-query")
    query.write_text('#!/bin/sh\nprintf "install ok installed"\n')
    assert run("run", **machine).returncode == 0
    assert run("test", **machine).returncode == 0
    assert run("headers", **machine).returncode == 0
    assert run("hub", **machine).returncode == 0
    assert run("arm64", **machine).returncode == 0
    assert run("fresh", **machine).returncode == 0
    assert not Path(machine["ASKED"]).exists()
