"""The one folder in which a running monitor keeps things, and the lock that keeps a second one out."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import queue
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from monitor.errors import ConfigError
from monitor.files import make_private
from monitor.service.mounts import is_read_only

log = structlog.get_logger(__name__)

LOCK: Final = "lock"

SYSTEM_STATE: Final = Path("/var/lib/cradlewatch")
"""Where systemd's StateDirectory puts it; only the service itself gets to know it."""
CLAIMED_WITHIN_S: Final = 1.0
"""What a start waits for the folder."""

TOLD_FOR_S: Final = 60.0


class StateFolder:
    """``path`` is None where nothing can be kept, and ``fault`` says why."""

    def __init__(
        self,
        path: Path | None,
        fault: str = "",
        lock: int | None = None,
        claims: queue.SimpleQueue[int | OSError] | None = None,
    ) -> None:
        self.path = path
        self.fault = fault
        self._lock = lock
        self._claims = claims
        """Where the lock arrives, of a folder that did not answer at the start."""
        self._lost = ""
        self._mended_at_s: float | None = None
        self.generation = 0
        """Rises whenever the folder was made again: what was kept in it is gone."""

    @property
    def lost(self) -> str:
        """That the folder was taken away, until a minute after it was made again. Any thread."""
        told = self._mended_at_s is not None and time.monotonic() - self._mended_at_s > TOLD_FOR_S
        return "" if told else self._lost

    def mend(self) -> None:
        """Make and lock the folder anew in case that somebody deleted it, or put another in its place.

        Without this a second service could lock a new folder of that name. One thread; may wait for a disk.
        """
        self._take_claim()
        if self.path is None or self._lock is None or self._is_ours(self.path / LOCK):
            return
        if not self._lost or self._mended_at_s is not None:
            log.error("state.folder_lost", path=str(self.path))
        self._mended_at_s = None
        self._lost = f"The state folder {self.path} was deleted or replaced while the monitor ran"
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = _locked(self.path / LOCK)
        except OSError as error:
            self._lost += f", and cannot be made again: {error.strerror}. A restart forgets what is new."
            return
        os.close(self._lock)
        self._lock = lock
        self._lost += "; it was made again."
        self._mended_at_s = time.monotonic()
        self.generation += 1
        log.warning("state.folder_mended", path=str(self.path))

    def _take_claim(self) -> None:
        if self._claims is None or self._claims.empty() or self.path is None:
            return
        claim, self._claims = self._claims.get(), None
        if isinstance(claim, int):
            self._lock, self.fault = claim, ""
            log.info("state.answers_again")
        elif isinstance(claim, BlockingIOError):
            self.fault = f"{_held_by_another(self.path)} Stop one of them."
        else:
            self.fault = _unusable(self.path, claim.strerror)

    def _is_ours(self, lock: Path) -> bool:
        assert self._lock is not None
        try:
            there = lock.stat()
        except OSError:
            return False
        held = os.fstat(self._lock)
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def close(self) -> None:
        """Let another service have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def state_path(configured: Path | None, device: str, environ: Mapping[str, str]) -> Path:
    """Folder of one device: below the configured one, systemd's, or the user's."""
    return _base(configured, environ) / device


def state_bases(configured: Path | None, environ: Mapping[str, str]) -> list[Path]:
    """Where folders of devices may be: where this process has them, and where the system's service has."""
    is_given = configured is not None or bool(environ.get("STATE_DIRECTORY"))
    return [_base(configured, environ), *([] if is_given else [SYSTEM_STATE])]


def _base(configured: Path | None, environ: Mapping[str, str]) -> Path:
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    user = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '/')}/.local/state"
    return configured or (Path(given) if given else Path(user) / "cradlewatch")


def default_device(plain: str, bases: Iterable[Path], machine: str | None) -> str:
    """The id of a monitor that was given none: ``plain`` with a part of the machine's key, ``machine``.

    What is there counts first. A monitor of an earlier release, or on a card that was moved to another
    machine, stays the device that the hub knows.
    """
    there = sorted({name for base in bases for name in _names(base)})
    made = f"{plain}-{machine[:4]}" if machine else plain
    others = [name for name in there if re.fullmatch(rf"{re.escape(plain)}-[0-9a-f]{{4}}", name)]
    return next((name for name in (plain, made, *others) if name in there), made)


def _names(base: Path) -> list[str]:
    """What is in ``base``; nothing where it cannot be read, or not soon: its disk may be dying."""
    found: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def look() -> None:
        try:
            found.put([path.name for path in base.iterdir()])
        except OSError:
            found.put([])

    threading.Thread(target=look, name="state-names", daemon=True).start()
    try:
        return found.get(timeout=CLAIMED_WITHIN_S)
    except queue.Empty:
        return []


def open_state_folder(path: Path, *, within_s: float = CLAIMED_WITHIN_S) -> StateFolder:
    """Make and lock ``path``. Raises ConfigError when another service holds it.

    A card that has become read-only must not make the monitor deaf: then nothing is kept. Nor must one that
    does not answer: then the folder is claimed when it does.
    """
    claims: queue.SimpleQueue[int | OSError] = queue.SimpleQueue()
    threading.Thread(target=_claim, args=(path, claims), name="state-folder", daemon=True).start()
    try:
        claim = claims.get(timeout=within_s)
    except queue.Empty:
        fault = f"The state folder {path} does not answer. Check the disk or the SD card."
        log.warning("state.hangs", fault=fault)
        return StateFolder(path, fault, claims=claims)
    if isinstance(claim, BlockingIOError):
        raise ConfigError(
            _held_by_another(path), "Stop it, or give this one another device.id or service.state_dir."
        ) from claim
    if isinstance(claim, OSError):
        fault = _unusable(path, claim.strerror)
        log.warning("state.unusable", fault=fault)
        return StateFolder(None, fault)
    return StateFolder(path, lock=claim)


def _held_by_another(path: Path) -> str:
    return f"Another cradlewatch runs with the state folder {path}."


def _claim(path: Path, claims: queue.SimpleQueue[int | OSError]) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _locked(path / LOCK)
    except OSError as error:
        claims.put(error)
        return
    # An earlier version let everybody on this machine read some of them.
    with contextlib.suppress(OSError):
        for kept in (path, *path.iterdir()):
            make_private(kept)
    claims.put(lock)


@dataclass(frozen=True, slots=True)
class Prospect:
    """What :func:`open_state_folder` would find. ``fault`` is a sentence, empty when all is well."""

    in_use: bool = False
    fault: str = ""


def look_at_state_folder(path: Path) -> Prospect:
    """Whether a service could keep its state in ``path``. Makes nothing: it would belong to who looks."""
    try:
        lock = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        reason = "" if there.is_dir() else os.strerror(errno.ENOTDIR)
        if not reason and not os.access(there, os.W_OK | os.X_OK):
            reason = os.strerror(errno.EROFS if is_read_only(there) else errno.EACCES)
        return Prospect(fault=_unusable(path, reason) if reason else "")
    except OSError as error:
        return Prospect(fault=_unusable(path, error.strerror))
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Prospect(in_use=True)
    except OSError as error:
        return Prospect(fault=_unusable(path, error.strerror))
    finally:
        os.close(lock)
    writable = os.access(path, os.W_OK | os.X_OK)
    return Prospect(fault="" if writable else _unusable(path, os.strerror(errno.EACCES)))


def _unusable(path: Path, reason: str | None) -> str:
    return f"The state folder {path} cannot be used: {reason}. A restart forgets what is new."


def _locked(path: Path) -> int:
    """Raises BlockingIOError when somebody else holds the lock, OSError when there can be none."""
    # Open for reading: a file open for writing would keep a failing disk from being mounted read-only.
    lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock
