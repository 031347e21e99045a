"""Files that survive a power cut: written beside, flushed, and moved into place. Text as editors save it."""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_OTHER_UNICODE: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""By their byte order marks; that of UTF-32 begins with that of UTF-16."""


OPEN_TO_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP
"""Mode bits that no file with secrets should have; a group may read it."""


def is_there(path: Path) -> bool:
    """Whether there is a file or folder. Raises PermissionError where that is hidden from us.

    ``Path.exists`` answers that with False from Python 3.14 on.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def read_text(path: Path) -> str:
    """Read UTF-8, with or without the byte order mark that Windows editors put in front.

    Raises OSError, and ValueError with what it is instead ("is UTF-16 text, not UTF-8").
    """
    content = path.read_bytes()
    for mark, name in _OTHER_UNICODE.items():
        if content.startswith(mark):
            raise ValueError(f"is {name} text, not UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from error


def secret_remedy(error: OSError, key: str, credential: str, environ: Mapping[str, str]) -> str:
    """What to do about a file with secrets, named by ``key``, that cannot be read.

    Our unit runs us as a user who owns nothing; systemd hands over what it finds as ``credential``.
    """
    if isinstance(error, PermissionError) and "STATE_DIRECTORY" in environ:
        return (
            "The service has a user of its own: make it root's file "
            f'/etc/credstore/cradlewatch.{credential}, mode 0600, and set {key} = "{credential}".'
        )
    return "Check the path and the access rights."


def write_atomically(path: Path, text: str) -> None:
    """As ``write_bytes_atomically``, in UTF-8."""
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``content`` in one step, by default readable by its owner alone. Raises OSError.

    After a power cut the file holds what was there before or what is new, never a part.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            with contextlib.suppress(PermissionError):  # a memory stick's file system knows no modes
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def replace_contents(path: Path, content: bytes, new_mode: int = 0o666) -> None:
    """Write ``content`` as the file that ``path`` names, in one step. Raises OSError.

    A link goes on pointing to its file, and the file keeps its mode and, where we may give it, its owner.
    A new file gets ``new_mode``, less what the process's mask takes away.
    """
    target = Path(os.path.realpath(path))
    try:
        before = target.stat()
    except FileNotFoundError:
        write_bytes_atomically(target, content, new_mode & ~_umask())
        return
    write_bytes_atomically(target, content, before.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):
        os.chown(target, before.st_uid, before.st_gid)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    # The new name lives in the folder; without this it may be gone after a power cut.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from a later one of the same name; None where there is none or it cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def make_private(path: Path) -> None:
    """Take a file or folder away from everybody but its owner, where the file system and its owner let us."""
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if stat.S_IMODE(mode) & 0o077 and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~0o077)
