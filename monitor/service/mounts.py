"""Whether a file system takes writes, by its mount options."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

MOUNT_INFO: Final = Path("proc/self/mountinfo")
_REFUSING: Final = frozenset({"ro", "emergency_ro"})
"""An ext4 that met an error stops taking writes; newer kernels call that emergency_ro."""


def is_read_only(path: Path, root: Path = Path("/")) -> bool:
    """Of the file system that holds ``path``; see proc_pid_mountinfo(5). Raises OSError."""
    text = (root / MOUNT_INFO).read_text(encoding="utf-8", errors="replace")
    path = path.resolve()
    holding = [(place, options) for place, options in _mounts(text) if path.is_relative_to(place)]
    # The nearest counts, and of several at one place the latest: a sandbox mounts a folder that may be
    # written into a tree that may not.
    nearest = max(enumerate(holding), key=lambda item: (len(item[1][0].parts), item[0]), default=None)
    return nearest is not None and bool(nearest[1][1] & _REFUSING)


def _mounts(text: str) -> Iterator[tuple[Path, frozenset[str]]]:
    """Mount points with the options of mount and file system together."""
    for line in text.splitlines():
        before, _, behind = line.partition(" - ")
        mount, file_system = before.split(), behind.split()
        # Spaces in a path are written as \040.
        place = Path(mount[4].encode("latin-1", "replace").decode("unicode_escape"))
        yield place, frozenset(mount[5].split(",")) | frozenset(file_system[-1].split(","))
