"""A Debian of its own with a real systemd as its first process, in a container without an engine.

``clean_root`` makes the system with mmdebstrap from the sources that this machine's apt uses; ``Machine``
boots it with systemd-nspawn. Both need root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

BOOTED_WITHIN_S = 60.0
TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "dpkg-deb")


def lacking() -> str:
    """Why no machine can be made here; empty if one can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} missing (make test-install installs them)"
    return "" if os.geteuid() == 0 else "only root can make a machine"


def sources() -> list[str]:
    """The files that tell this machine's apt where Debian is."""
    lists = Path("/etc/apt/sources.list.d")
    named = [Path("/etc/apt/sources.list"), *lists.glob("debian*.sources"), *lists.glob("debian*.list")]
    return [str(path) for path in named if path.is_file() and path.read_text().strip()]


def release() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"].strip('"')


def clean_root(folder: Path, *packages: str) -> None:
    """A minimal Debian, with systemd and ``packages``, in ``folder``."""
    wanted = ",".join(("systemd", *packages))
    command = ["mmdebstrap", "--variant=minbase", f"--include={wanted}", release(), str(folder), *sources()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "etc" / "machine-id").write_text("")


class Machine:
    """The system in ``root``, booted as long as the ``with`` block lasts. ``bound`` appears there as /mnt."""

    def __init__(self, root: Path, bound: Path) -> None:
        options = ("--boot", "--register=no", "--keep-unit", "--console=pipe", "--link-journal=no")
        self._container = subprocess.Popen(
            ["systemd-nspawn", "--quiet", f"--directory={root}", *options, f"--bind={bound}:/mnt"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._first = ""

    def __enter__(self) -> Self:
        deadline = time.monotonic() + BOOTED_WITHIN_S
        while not self._is_up():
            assert time.monotonic() < deadline, "the machine does not boot"
            assert self._container.poll() is None, "the container ended"
            time.sleep(0.1)
        return self

    def _is_up(self) -> bool:
        children = (
            Path(f"/proc/{self._container.pid}/task/{self._container.pid}/children").read_text().split()
        )
        self._first = children[0] if children else ""
        return bool(children) and self.run("systemctl is-system-running") in {"running", "degraded"}

    def __exit__(self, *_: object) -> None:
        if self._first:
            subprocess.run(
                ["kill", "-KILL", self._first], check=False
            )  # the first process: all others go too
        else:
            self._container.kill()
        self._container.wait(timeout=30)

    def run(self, command: str) -> str:
        """What a shell command prints in there, whatever its exit code."""
        done = subprocess.run(
            ["nsenter", f"--target={self._first}", "--all", "sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return (done.stdout + done.stderr).strip()

    def wait_for(self, command: str, expected: str, timeout_s: float = 40.0) -> None:
        deadline = time.monotonic() + timeout_s
        while (heard := self.run(command)) != expected:
            assert time.monotonic() < deadline, f"{command}: {heard!r}, not {expected!r}"
            time.sleep(0.1)
