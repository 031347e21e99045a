"""The parts of the stage that need no emulator: which wheels, which mirror, what is said without."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.arm64.wheels import TARGETS, fetch, wanted
from tests.programs import shellcheck

HERE = Path(__file__).parent
SETUP = HERE / "setup.sh"
BOOKWORM, TRIXIE = TARGETS["bookworm"], TARGETS["trixie"]

LOCK = """\
both==1.0 \\
    --hash=sha256:{one}
    # via somebody
one==2.0 ; python_full_version < '3.12' \\
    --hash=sha256:{one} \\
    --hash=sha256:{two}
one==3.0 ; python_full_version >= '3.12' \\
    --hash=sha256:{one}
elsewhere==1.0 ; sys_platform == 'win32' \\
    --hash=sha256:{one}
intel==1.0 ; platform_machine == 'x86_64' \\
    --hash=sha256:{one}
arm==1.0 ; platform_machine == 'aarch64' \\
    --hash=sha256:{one}
""".format(one="1" * 64, two="2" * 64)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / "a.lock").write_text(LOCK)
    return tmp_path / "a.lock"


def a_program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def test_conditions_are_judged_by_the_machine_that_the_wheels_are_for(lock):
    assert [(e.name, e.version) for e in wanted(BOOKWORM, [lock])] == [
        ("arm", "1.0"),
        ("both", "1.0"),
        ("one", "2.0"),
    ]
    assert [(e.name, e.version) for e in wanted(TRIXIE, [lock])] == [
        ("arm", "1.0"),
        ("both", "1.0"),
        ("one", "3.0"),
    ]


def test_a_line_for_pip_keeps_every_hash_and_no_condition(lock):
    [line] = [entry.line() for entry in wanted(BOOKWORM, [lock]) if entry.name == "one"]
    assert line == f"one==2.0 --hash=sha256:{'1' * 64} --hash=sha256:{'2' * 64}"


def test_locks_that_disagree_are_refused(lock, tmp_path):
    other = tmp_path / "b.lock"
    other.write_text(LOCK.replace("both==1.0", "both==1.1"))
    with pytest.raises(ValueError, match=r"both: the locks disagree \(1\.0, 1\.1\)"):
        wanted(BOOKWORM, [lock, other])


@pytest.mark.parametrize("target", [BOOKWORM, TRIXIE], ids=["bookworm", "trixie"])
def test_the_locks_of_the_project_serve_both_debians(target):
    names = {entry.name for entry in wanted(target)}
    assert {"numpy", "onnxruntime", "sounddevice", "apprise", "prometheus-client"} <= names


def test_pip_may_take_what_the_c_library_over_there_can_load_and_nothing_newer():
    assert "--platform=manylinux_2_36_aarch64" in BOOKWORM.options()
    assert "--platform=manylinux_2_37_aarch64" not in BOOKWORM.options()
    assert {"--platform=manylinux_2_17_aarch64", "--platform=manylinux2014_aarch64"} <= set(
        BOOKWORM.options()
    )
    assert "--only-binary=:all:" in BOOKWORM.options()


def test_a_wheel_is_kept_if_whole_and_whatever_else_lies_there_goes(tmp_path):
    content = b"a wheel"
    lock, wheels = tmp_path / "a.lock", tmp_path / "wheels"
    lock.write_text(f"thing==1.0 \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}\n")
    wheels.mkdir()
    for name in ("thing-1.0-py3-none-any.whl", "thing-0.9-py3-none-any.whl", "gone-1.0.tar.gz"):
        (wheels / name).write_bytes(content)
    fetch(BOOKWORM, wheels, [lock])  # and no index is asked: thing 1.0 is on none
    assert [file.name for file in wheels.iterdir()] == ["thing-1.0-py3-none-any.whl"]


@pytest.mark.parametrize("script", ["setup.sh", "enter.sh"])
def test_shellcheck_finds_nothing(script):
    assert shellcheck(HERE / script) == ""


@pytest.mark.parametrize("arguments", [(), ("bookworm",), ("buster", "somewhere")])
def test_without_a_known_debian_and_a_folder_it_says_how_it_is_used(arguments):
    done = subprocess.run([SETUP, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, f"usage: {SETUP} bookworm|trixie FOLDER\n")


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """A PATH on which all packages are installed and apt knows two mirrors, of which neither has anything."""
    programs = tmp_path / "bin"
    programs.mkdir()
    a_program(programs, "dpkg-query", "echo install ok installed")
    a_program(programs, "apt-get", "printf 'http://one.example/debian/\\nhttp://two.example/debian/\\n'")
    a_program(programs, "wget", f'echo "$@" >>{tmp_path}/asked; exit 8')
    return {"PATH": f"{programs}:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}


def test_every_mirror_of_apt_is_asked_and_if_none_serves_it_is_said_what_to_do(machine, tmp_path):
    done = subprocess.run(
        [SETUP, "trixie", tmp_path / "arm64"],
        env=machine,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.strip().endswith("has Debian trixie: name one in DEBIAN_MIRROR.")
    asked = [line.split()[-1] for line in (tmp_path / "asked").read_text().splitlines()]
    assert asked == [
        "http://one.example/debian/dists/trixie/InRelease",
        "http://two.example/debian/dists/trixie/InRelease",
    ]
    assert not (tmp_path / "arm64" / "recipe").exists()


def test_a_mirror_that_is_named_is_the_only_one_asked(machine, tmp_path):
    named = machine | {"DEBIAN_MIRROR": "http://three.example/debian"}
    subprocess.run(
        [SETUP, "bookworm", tmp_path / "arm64"], env=named, capture_output=True, timeout=60, check=False
    )
    [asked] = (tmp_path / "asked").read_text().splitlines()
    assert asked.endswith(" http://three.example/debian/dists/bookworm/InRelease")
