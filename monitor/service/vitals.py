"""Readings of the machine and of this process, taken by a thread of their own.

A disk that died does not fail, it just does not answer. So nobody but this thread asks it; main takes the
latest readings and sees how old they are.
"""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from monitor.service.machine import Machine
from monitor.service.mounts import is_read_only
from monitor.service.state_folder import StateFolder

log = structlog.get_logger(__name__)

READ_EVERY_S: Final = 2.0
_SHORT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})
MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FolderVitals:
    """Of the state folder."""

    free_mb: float
    read_only: bool
    fault: str = ""
    """What happened to it while we ran."""


@dataclass(frozen=True, slots=True)
class Vitals:
    at_s: float
    """Monotonic."""
    cpu_temperature_c: float | None = None
    under_voltage: bool = False
    throttled: bool = False
    memory_mb: float = 0.0
    """Resident, of this process."""
    open_files: float = 0.0
    """As a share of those that the process may open."""
    folder: FolderVitals | None = None
    changed_files: tuple[str, ...] = ()


@dataclass(slots=True)
class _File:
    signature: tuple[int, int, int] | None
    digest: bytes


class VitalsWatch:
    """Reads every two seconds; ``latest`` is for any thread.

    ``guards`` are called with each reading, on this thread: they restore what others took away.
    """

    def __init__(
        self,
        machine: Machine,
        state: StateFolder,
        *,
        files: Iterable[Path] = (),
        guards: Iterable[Callable[[], None]] = (),
        read_every_s: float = READ_EVERY_S,
    ) -> None:
        self._machine = machine
        self._state = state
        self._guards = tuple(guards)
        self._read_every_s = read_every_s
        self._stopping = threading.Event()
        self._first = threading.Event()
        self._files = {path: _File(_signature(path), _digest(path)) for path in files}
        self.latest = Vitals(at_s=time.monotonic())

    def wait(self, timeout_s: float) -> None:
        """Until the first readings are there, or the disk has not answered for so long."""
        self._first.wait(timeout_s)

    def run(self) -> None:
        """The thread."""
        while not self._stopping.is_set():
            try:
                self.read()
            except OSError as error:
                if error.errno not in _SHORT_OF_FILES:
                    raise
                self.latest = replace(self.latest, at_s=time.monotonic(), open_files=1.0)
            self._first.set()
            self._stopping.wait(self._read_every_s)

    def stop(self) -> None:
        self._stopping.set()

    def read(self) -> Vitals:
        """Take all readings now; may wait for a disk. Raises OSError when no file can be opened."""
        power = self._machine.power()
        memory_mb, open_files = _memory_mb(), _open_files()
        folder = self._folder()
        for guard in self._guards:
            guard()
        self.latest = Vitals(
            at_s=time.monotonic(),
            cpu_temperature_c=self._machine.cpu_temperature_c(),
            under_voltage=power.under_voltage,
            throttled=power.throttled,
            memory_mb=memory_mb,
            open_files=open_files,
            folder=folder,
            changed_files=tuple(self._changed_files()),
        )
        return self.latest

    def _folder(self) -> FolderVitals | None:
        path = self._state.path
        if path is None:
            return None
        self._state.mend()
        try:
            space = os.statvfs(path)
            read_only = is_read_only(path)
        except OSError as error:
            if error.errno in _SHORT_OF_FILES:
                raise
            return FolderVitals(0.0, read_only=False, fault=self._state.lost or _unusable(path, error))
        return FolderVitals(space.f_bavail * space.f_frsize / MEGABYTE, read_only, self._state.lost)

    def _changed_files(self) -> Iterable[str]:
        for path, file in self._files.items():
            signature = _signature(path)
            if signature == file.signature:
                continue
            if _digest(path) == file.digest:
                file.signature = signature  # somebody put it back, or only touched it
            else:
                yield (
                    f"The model file {path.parent.name}/{path.name} was changed or removed; the monitor goes "
                    "on with what it loaded. `cradlewatch check --only models` says if it can start again."
                )


def _unusable(path: Path, error: OSError) -> str:
    return f"The state folder {path} cannot be used: {error.strerror}. A restart forgets what is new."


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MEGABYTE


def _open_files() -> float:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return count / max(1, allowed)
