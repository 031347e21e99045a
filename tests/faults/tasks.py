"""A control group that limits threads and processes, as systemd makes one for TasksMax. Needs root."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def _hierarchy() -> Path | None:
    if (_ROOT / "pids").is_dir():
        return _ROOT / "pids"
    controllers = _ROOT / "cgroup.controllers"
    return _ROOT if controllers.exists() and "pids" in controllers.read_text().split() else None


def missing() -> str:
    if os.geteuid() != 0:
        return "a control group of its own needs root"
    return "" if _hierarchy() is not None else "no control groups that limit tasks"


class TaskLimit:
    """Takes in one process; what it starts from then on counts as well."""

    def __init__(self, pid: int) -> None:
        root = _hierarchy()
        assert root is not None
        self._folder = root / f"cradlewatch-faults-{uuid.uuid4().hex[:8]}"
        self._folder.mkdir()
        (self._folder / "cgroup.procs").write_text(str(pid))

    def close_in(self) -> None:
        """Not one thread or process more than there are now."""
        (self._folder / "pids.max").write_text((self._folder / "pids.current").read_text())

    def lift(self) -> None:
        (self._folder / "pids.max").write_text("max")

    def remove(self) -> None:
        """Once its processes have ended."""
        with contextlib.suppress(OSError):
            self._folder.rmdir()
