"""Processes of our own that do what may hang or crash: what they are started with, and how one ended."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CRASHED: Final = (
    "The sound system crashed: is ALSA's configuration complete (package libasound2-data, /etc/asound.conf, "
    "~/.asoundrc)?"
)


NO_PROCESS: Final = (
    "Let it have more processes: TasksMax= of its unit, pids_limit of its container, `ulimit -u`."
)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a helper: our modules, and no folder that belongs to somebody else.

    ``su`` without ``-`` leaves root's HOME and XDG_RUNTIME_DIR to a user who may not enter them, over which
    sound libraries stumble.
    """
    ours = dict(environ)
    if not _is_open(ours.get("XDG_RUNTIME_DIR", "/")):
        del ours["XDG_RUNTIME_DIR"]
    if not _is_open(ours.get("HOME", "/")):
        ours["HOME"] = _home()
    return ours | {"PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path)}


def how_it_ended(status: int) -> str:
    """A :class:`subprocess.Popen`'s return code in words, to follow "its process"."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _is_open(folder: str) -> bool:
    """Whether this user may use ``folder``; one that does not exist disturbs nobody."""
    try:
        Path(folder).stat()
    except PermissionError:
        return False
    except OSError:
        return True
    return os.access(folder, os.R_OK | os.X_OK)


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user that exists only while it runs
        return "/"
