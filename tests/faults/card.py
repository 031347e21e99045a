"""A disk for the state folder: one that can be full, broken, frozen and replaced. Needs root.

Kinds: "ext4-1k", what mkfs makes of a card below 512 MB; "ext4-4k", the usual one; "btrfs", which needs room
to delete; "vfat", as a stick is bought; "tmpfs"; and "fuse", which a program serves, as over the network.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
from pathlib import Path
from typing import Literal, Self

from tests.broker import wait_until

SIZE_MB = 24
LEAST_MB = {"btrfs": 128}
Kind = Literal["ext4-1k", "ext4-4k", "btrfs", "vfat", "tmpfs", "fuse"]
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_TOOLS = {
    "ext4-1k": ("mkfs.ext4", "fsfreeze", "losetup"),
    "ext4-4k": ("mkfs.ext4", "fsfreeze", "losetup"),
    "btrfs": ("mkfs.btrfs", "losetup"),
    "vfat": ("mkfs.vfat", "losetup"),
    "tmpfs": (),
    "fuse": ("mkfs.ext4", "fuse2fs"),
}
_SHUT_DOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN of the kernel's fs/ext4/ext4.h."""
_WITHOUT_LOG = 2


def missing(kind: Kind = "ext4-1k") -> str:
    """Why there can be none; empty where there can."""
    if os.geteuid() != 0:
        return "a disk of its own needs root"
    system = kind.partition("-")[0]
    if not any(system == line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()):
        return f"this kernel has no {system}"
    tools = [tool for tool in _TOOLS[kind] if shutil.which(tool, path=_PATH) is None]
    if tools:
        return f"{', '.join(tools)} missing"
    device = {"tmpfs": "/proc", "fuse": "/dev/fuse"}.get(kind, "/dev/loop-control")
    return "" if Path(device).exists() else f"no {device}"


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"PATH": _PATH}, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class SdCard:
    """Mounted at ``path`` as long as the ``with`` block."""

    def __init__(self, folder: Path, kind: Kind = "ext4-1k") -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._kind = kind
        self._server: subprocess.Popen[bytes] | None = None
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
        (self.path / "ballast").unlink(missing_ok=True)

    def flush(self) -> None:
        """Have written what waits: a freeze does it first, and takes seconds for it below a busy machine."""
        _run("sync", "--file-system", str(self.path))

    def freeze(self) -> None:
        """Whoever writes now waits, and cannot be killed."""
        if self._server is None:
            _run("fsfreeze", "--freeze", str(self.path))
        else:
            self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._server is None:
            _run("fsfreeze", "--unfreeze", str(self.path))
        else:
            self._server.send_signal(signal.SIGCONT)

    def thaw_if_frozen(self) -> None:
        with contextlib.suppress(AssertionError):  # it is not frozen
            self.thaw()

    def break_down(self) -> None:
        """An error on the medium: the kernel takes no more writes, as on a worn card."""
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self.path)).strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("1")

    def die(self) -> None:
        """From now on every access is an error of input or output, as when the card was pulled."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, _SHUT_DOWN, struct.pack("=I", _WITHOUT_LOG))
        finally:
            os.close(folder)

    def replace(self) -> None:
        """Put in a fresh card."""
        self._take_out()
        self._insert()

    def _insert(self) -> None:
        self._number += 1
        image = self._folder / f"card-{self._number}.img"
        if self._kind == "tmpfs":
            _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(self.path))
            return
        with image.open("wb") as file:
            file.truncate(LEAST_MB.get(self._kind, SIZE_MB) * 1_000_000)
        if self._kind in ("btrfs", "vfat"):
            _run(f"mkfs.{self._kind}", str(image))
            _run("mount", "-o", "loop", str(image), str(self.path))
            return
        block = "1024" if self._kind == "ext4-1k" else "4096"
        _run("mkfs.ext4", "-q", "-m", "0", "-b", block, str(image))
        if self._kind == "fuse":
            self._serve(image)
        else:
            _run("mount", "-o", "loop,errors=remount-ro", str(image), str(self.path))

    def _serve(self, image: Path) -> None:
        command = ["fuse2fs", "-f", "-o", "rw", str(image), str(self.path)]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.ismount(self.path), "the file system is served")

    def _take_out(self) -> None:
        _run("umount", "--lazy", str(self.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw_if_frozen()
        self._take_out()
        if self._server is not None:
            self._server.kill()
            self._server.wait(20)
