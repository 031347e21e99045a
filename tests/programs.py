"""Programs that come in wheels: they lie beside this Python, which need not be on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def shellcheck(*words: object, script: str | None = None) -> str:
    """What shellcheck finds in the files that ``words`` name, or in ``script``; empty if nothing."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    program = shutil.which("shellcheck", path=path)
    if program is None:
        pytest.skip("shellcheck is not installed: make test does it")
    done = subprocess.run(
        [program, *map(str, words)], input=script, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout
