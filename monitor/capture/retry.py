"""When to try a lost microphone again: often at first, rarely later, at once when something changes.

A process that looks for a microphone costs a tenth of a second of a Pi. So one that has been away for a while
is looked for rarely, and meanwhile what the kernel and the sound servers show of their devices is compared,
which costs next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NODES: Final = Path("/dev/snd")
_CARDS: Final = Path("/proc/asound/cards")
_SERVERS: Final = ("pulse/native", "pipewire-0")

Look = Callable[[], object]


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """In seconds."""

    first_s: float = 0.5
    quick_s: float = 1.5
    """Short for a back-off: a parent who plugs the microphone in again wants to hear of it within 5 s."""
    quick_for_s: float = 60.0
    """How long a loss is answered so quickly, and each sign of a device that comes or goes."""
    server_s: float = 4.0
    """Afterwards, where a sound server runs or the device is there: these come back without a sign."""
    longest_s: float = 15.0
    look_every_s: float = 0.5


class Retry:
    """Plans the tries of one outage after the other. ``look`` says what devices there seem to be."""

    def __init__(self, limits: RetryLimits, look: Look) -> None:
        self._limits = limits
        self._look = look
        self._since_s: float | None = None
        """Of the outage, or of the latest sign."""
        self._pause_s = limits.first_s
        self._at_s = 0.0
        self._seen: object = None
        self._look_at_s = 0.0

    def failed(self, now_s: float, *, signs: bool) -> None:
        """Plan the next try. ``signs``: whether something will be seen when the device comes back."""
        limits = self._limits
        if self._since_s is None:
            self._since_s = now_s
            self._seen = self._look()
        longest_s = limits.quick_s
        if now_s - self._since_s >= limits.quick_for_s:
            longest_s = limits.longest_s if signs else limits.server_s
        self._at_s = now_s + min(self._pause_s, longest_s)
        self._pause_s = min(2 * self._pause_s, limits.longest_s)

    def is_due(self, now_s: float) -> bool:
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + self._limits.look_every_s
            seen = self._look()
            if seen != self._seen:
                self._seen, self._since_s = seen, now_s
                self._pause_s = self._limits.first_s
                self._at_s = now_s
        return now_s >= self._at_s

    def succeeded(self, *, lasted: bool) -> None:
        """The device is there; the next outage begins quickly where this time was no flicker."""
        self._since_s = None
        if lasted:
            self._pause_s = self._limits.first_s


def sound_devices(environ: Mapping[str, str] = os.environ) -> tuple[object, ...]:
    """Something that differs when sound devices or servers came or went. Waits for nothing."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    sockets = [Path(runtime, name) for name in _SERVERS]
    sockets.append(Path(environ.get("PULSE_SERVER", "").removeprefix("unix:")))
    return (_names(_NODES), _text(_CARDS), *map(_identity, sockets))


def _names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except OSError:
        return ()


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns
