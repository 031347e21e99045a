"""The one folder in which a running monitor keeps things, and the lock that keeps a second one out."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from monitor.errors import ConfigError

log = structlog.get_logger(__name__)


class StateFolder:
    """``path`` is None where nothing can be kept, and ``fault`` says why."""

    def __init__(self, path: Path | None, fault: str = "", lock: int | None = None) -> None:
        self.path = path
        self.fault = fault
        self._lock = lock

    def close(self) -> None:
        """Let another service have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def state_path(configured: Path | None, device: str, environ: Mapping[str, str]) -> Path:
    """Folder of one device: below the configured one, systemd's, or the user's."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    user = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '/')}/.local/state"
    base = configured or (Path(given) if given else Path(user) / "cradlewatch")
    return base / device


def open_state_folder(path: Path) -> StateFolder:
    """Make and lock ``path``. Raises ConfigError when another service holds it.

    A card that has become read-only must not make the monitor deaf: then nothing is kept.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        fault = f"The state folder {path} cannot be used: {error.strerror}. A restart forgets what is new."
        log.warning("state.unusable", fault=fault)
        return StateFolder(None, fault)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConfigError(
            f"Another cradlewatch runs with the state folder {path}.",
            "Stop it, or give this one another device.id or service.state_dir.",
        ) from error
    return StateFolder(path, lock=lock)
