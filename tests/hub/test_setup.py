"""The script that installs Home Assistant: which Python it takes, and what it says without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.home_assistant import lacking
from tests.programs import shellcheck

SCRIPT = Path(__file__).with_name("setup.sh")
DOES_NOT_RUN = "#!/bin/sh\necho no such version >&2\nexit 127\n"


def run(*arguments: str, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": f"{path}:/usr/bin:/bin", "HOME": "/nonexistent", **environment},
    )


def a_python(folder: Path, name: str, version: tuple[int, int, int]) -> Path:
    """Something that answers as this version of Python would; its file."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    answer = f"import sys; sys.version_info = {version}; sys.executable = {str(program)!r}"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c \"{answer}; exec('''$2''')\"\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder that comes first on PATH; in it no Python is new enough."""
    for name in ("python3", "python3.13", "python3.14"):
        a_python(tmp_path / "bin", name, (3, 11, 7))
    return tmp_path / "bin"


def test_without_a_python_that_is_new_enough_it_says_what_to_install(path):
    done = run("find", path=path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Python 3.13 or newer" in done.stderr
    assert "HUB_PYTHON" in done.stderr


def test_a_name_that_stands_on_path_but_does_not_run_is_passed_over(path):
    (path / "python3.13").write_text(DOES_NOT_RUN)
    newer = a_python(path, "python3.14", (3, 14, 0))
    assert run("find", path=path).stdout.strip() == str(newer)


def test_a_version_of_pyenv_is_found_though_it_is_not_on_path(path, tmp_path):
    installed = a_python(tmp_path / "pyenv" / "versions" / "3.13.0" / "bin", "python3", (3, 13, 0))
    assert run("find", path=path, PYENV_ROOT=str(tmp_path / "pyenv")).stdout.strip() == str(installed)


def test_the_one_that_is_named_comes_first(path, tmp_path):
    a_python(path, "python3.13", (3, 13, 1))
    named = a_python(tmp_path / "own", "python", (3, 15, 0))
    assert run("find", path=path, HUB_PYTHON=str(named)).stdout.strip() == str(named)


def test_what_was_set_up_by_half_is_not_taken_for_home_assistant(path, tmp_path):
    folder = tmp_path / "hub"
    assert "not installed" in lacking(folder)
    folder.mkdir()
    (folder / "complete").touch()
    assert lacking(folder) == ""
    # Without a venv module, and so without a way to install anything.
    a_python(path, "python3.13", (3, 13, 0))
    (path / "uv").write_text(DOES_NOT_RUN)
    done = run(str(folder), path=path, PIP_NO_INDEX="1")
    assert done.returncode != 0
    assert "could not be set up" in lacking(folder)


def test_without_a_folder_it_explains_itself(path):
    done = run(path=path)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_shellcheck_finds_nothing():
    assert shellcheck(SCRIPT) == ""


def test_it_may_be_executed():
    assert os.access(SCRIPT, os.X_OK)
