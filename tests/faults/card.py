"""An SD card: a small ext4 file system that can be full, broken, frozen and replaced. Needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

SIZE_MB = 24


def missing() -> str:
    """Why there can be none; empty where there can."""
    tools = [tool for tool in ("mkfs.ext4", "fsfreeze", "losetup") if shutil.which(tool, path=_PATH) is None]
    if os.geteuid() != 0:
        return "an SD card of its own needs root"
    if tools:
        return f"{', '.join(tools)} missing"
    return "" if Path("/dev/loop-control").exists() else "no loop devices"


_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"PATH": _PATH}, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class SdCard:
    """Mounted at ``path`` as long as the ``with`` block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._number = 0
        self.path = folder / "card"
        self.path.mkdir()
        self._insert()

    def fill(self) -> None:
        """Until nothing more fits."""
        with (self.path / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        (self.path / "ballast").unlink()

    def freeze(self) -> None:
        """Whoever writes now waits, and cannot be killed."""
        _run("fsfreeze", "--freeze", str(self.path))

    def thaw(self) -> None:
        _run("fsfreeze", "--unfreeze", str(self.path))

    def thaw_if_frozen(self) -> None:
        with contextlib.suppress(AssertionError):  # it is not frozen
            self.thaw()

    def break_down(self) -> None:
        """An error on the medium: the kernel takes no more writes, as on a worn card."""
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self.path)).strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("1")

    def replace(self) -> None:
        """Put in a fresh card."""
        self._take_out()
        self._insert()

    def _insert(self) -> None:
        self._number += 1
        image = self._folder / f"card-{self._number}.img"
        with image.open("wb") as file:
            file.truncate(SIZE_MB * 1_000_000)
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        _run("mount", "-o", "loop,errors=remount-ro", str(image), str(self.path))

    def _take_out(self) -> None:
        _run("umount", "--lazy", str(self.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw_if_frozen()
        self._take_out()
