"""A 64-bit ARM with Debian and Cradlewatch, emulated: programs of it run here, on files and sockets of here.

``tests/arm64/setup.sh`` makes it; where it was not called the tests are skipped with that reason. How long
something takes in it says nothing of a Raspberry Pi.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.arm64.wheels import ROOT, TARGETS, Target

FOLDER: Final = Path(os.environ.get("ARM64_FOLDER", ROOT / ".venv" / "arm64"))
ENTER: Final = Path(__file__).with_name("enter.sh")
INSTALLED: Final = "/opt/cradlewatch"
NO_CHILDREN: Final = 3
"""Exit code of ``enter.sh`` where the kernel cannot start children of what is emulated."""

ENOUGH_S: Final = 600.0
"""For anything here, on a machine that does much else."""

# The instructions that each has are what matters: 8.0 without, 8.2 with dot products of bytes.
PROCESSORS: Final = {
    "cortex-a53": "Raspberry Pi 3, Zero 2 W",
    "cortex-a72": "Raspberry Pi 4",
    "cortex-a76": "Raspberry Pi 5",
}


@dataclass(frozen=True, slots=True)
class Emulated:
    """One Debian on one processor."""

    target: Target
    processor: str = "cortex-a72"

    @property
    def folder(self) -> Path:
        """Where ``setup.sh`` put it; skips the test where it did not."""
        folder = FOLDER / self.target.suite
        if not (folder / "root" / INSTALLED.lstrip("/") / "bin" / "cradlewatch").exists():
            pytest.skip(f"there is no emulated {self.target.suite} (make test-arm64 makes it)")
        return folder

    def python(self, *arguments: str, children: bool = False, **environment: str) -> str:
        """What Python with ``arguments`` prints there; it must succeed.

        ``children``: it starts processes of its own, so that a kernel that cannot emulate them skips.
        """
        done = self.run(*arguments, children=children, **environment)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def cradlewatch(self, *arguments: str, children: bool = False, **environment: str) -> str:
        """What the installed command prints there; it must succeed."""
        return self.python(f"{INSTALLED}/bin/cradlewatch", *arguments, children=children, **environment)

    def run(
        self, *arguments: str, children: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Python with ``arguments``, whatever its exit code."""
        done = subprocess.run(
            [ENTER, self.folder / "root", "/usr/bin/python3", *arguments],
            env=self._environment(children=children) | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ENOUGH_S,
            check=False,
        )
        if children and done.returncode == NO_CHILDREN:
            pytest.skip(done.stderr.strip())
        return done

    def _environment(self, *, children: bool) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
        return kept | {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": INSTALLED,
            "QEMU_CPU": self.processor,
            "CRADLEWATCH_CONFIG": os.devnull,
            "FOREIGN_CHILDREN": "required" if children else "",
        }


BOOKWORM: Final = Emulated(TARGETS["bookworm"])
TRIXIE: Final = Emulated(TARGETS["trixie"])
