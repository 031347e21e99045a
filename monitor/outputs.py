"""Files that a user names for results: never an input, a recording, or what somebody else has written.

A shell that expands ``--output *.wav`` names the first recording as the output. So a target is judged before
the work begins, by what it is and what it holds, and is replaced in one step when the work is done.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from monitor.errors import ConfigError, MonitorError
from monitor.files import identity, replace_contents
from monitor.words import plain

AUDIO_SUFFIXES: Final = frozenset(
    f".{ending}"
    for ending in [
        "wav",
        "wave",
        "bwf",
        "w64",
        "rf64",
        "flac",
        "ogg",
        "oga",
        "opus",
        "mp3",
        "mp2",
        "mpga",
        "aif",
        "aiff",
        "aifc",
        "aff",
        "au",
        "snd",
        "caf",
        "voc",
        "sph",
        "nist",
        "ircam",
        "sf",
        "svx",
        "8svx",
        "iff",
        "avr",
        "paf",
        "pvf",
        "sds",
        "sd2",
        "wve",
    ]
)
"""Of recordings that can be read."""
OTHER_AUDIO_SUFFIXES: Final = frozenset(
    f".{ending}"
    for ending in [
        "m4a",
        "m4b",
        "m4r",
        "mp4",
        "m4v",
        "aac",
        "wma",
        "amr",
        "awb",
        "3gp",
        "3gpp",
        "3ga",
        "3g2",
        "webm",
        "weba",
        "mka",
        "mkv",
        "mov",
        "avi",
        "ape",
        "wv",
        "tta",
        "mpc",
        "ac3",
        "eac3",
        "dts",
        "alac",
        "dss",
        "ds2",
        "spx",
        "qcp",
        "mts",
        "flv",
    ]
)
"""Of recordings that ffmpeg can convert and that are not read."""

STANDARD_OUTPUT: Final = Path("-")
HEAD_BYTES: Final = 65_536
_MAGIC: Final = (
    b"RIFF",
    b"RIFX",
    b"RF64",
    b"BW64",
    b"riff",
    b"fLaC",
    b"OggS",
    b"ID3",
    b"FORM",
    b".snd",
    b"dns.",
    b"caff",
    b"Creative Voice",
    b"NIST_1A",
    b"\x1a\x45\xdf\xa3",
    b"#!AMR",
    b"\x30\x26\xb2\x75",
)
"""First bytes of the audio files that people have."""

Recogniser = Callable[[bytes], bool]
"""Whether the first bytes of a file show that we have written it."""


class Output:
    """A file that a user has named for results. ``option`` is how: "--output".

    ``inputs`` are the files that are read. What holds something that ``is_ours`` does not recognise is only
    replaced by ``force``, which is None where there is no such option. Raises ConfigError at once for a
    target that may not be written, and ``unwritable`` for one that cannot be. Pipes, devices and standard
    output just take what they are given.
    """

    def __init__(
        self,
        path: Path,
        option: str,
        *,
        inputs: Iterable[Path],
        is_ours: Recogniser,
        force: bool | None,
        new_mode: int = 0o666,
        unwritable: type[MonitorError] = ConfigError,
    ) -> None:
        self._path = path
        self._new_mode = new_mode
        self._shown = f"{option} {plain(str(path))}"
        self._unwritable = unwritable
        self._is_file = self._is_new = False
        if self._is_standard_output():
            return
        try:
            self._is_file = refuse_loss(path, self._shown, inputs=inputs, is_ours=is_ours, force=force)
            if self._is_file:
                self._is_new = not path.exists()
                _try_folder(path)
        except OSError as error:
            raise self._translated(error) from error

    def write(self, content: bytes) -> None:
        """Write all of it, in one step where it is a file. Raises MonitorError."""
        if self._is_standard_output():
            # As a file it may be one that the shell appends to.
            sys.stdout.buffer.write(content)
            return
        try:
            if self._is_file:
                if self._is_new and self._path.exists():
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                replace_contents(self._path, content, self._new_mode)
            else:
                with self._path.open("wb") as stream:
                    stream.write(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._translated(error) from error

    def _is_standard_output(self) -> bool:
        """By its usual name, or as the file or pipe that the shell has made of it."""
        try:
            status = os.fstat(1)
        except OSError:
            return False
        return self._path == STANDARD_OUTPUT or identity(self._path) == (status.st_dev, status.st_ino)

    def _translated(self, error: OSError) -> MonitorError:
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return self._unwritable(
            f"{self._shown} cannot be written: {error.strerror}.",
            "Make room there, or name a file on another disk."
            if is_full
            else "Name a file in an existing folder that you may write to.",
        )


def refuse_loss(
    path: Path, shown: str, *, inputs: Iterable[Path], is_ours: Recogniser, force: bool | None
) -> bool:
    """Raise ConfigError where writing to ``path`` would destroy something; return whether it is a file.

    ``shown`` names the target in a sentence: "--output x.txt". ``force`` is None where there is no such
    option.
    Raises OSError where the target cannot be looked at.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        _refuse_recording(path, shown, b"")
        return True
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        return False
    if (status.st_dev, status.st_ino) in {identity(one) for one in inputs}:
        raise ConfigError(f"{shown} is one of the files to be read.", "Name another file for the results.")
    head = _head(path)
    if head and is_ours(head):
        return True
    _refuse_recording(path, shown, head)
    if head and not force:
        remedy = "Name another file." if force is None else "Name another file, or add --force to replace it."
        raise ConfigError(f"{shown} exists, and Cradlewatch has not written it.", remedy)
    return True


def _refuse_recording(path: Path, shown: str, head: bytes) -> None:
    by_name = path.suffix.lower() in AUDIO_SUFFIXES | OTHER_AUDIO_SUFFIXES
    by_content = head.startswith(_MAGIC) or head[4:8] == b"ftyp" or (head[:1] == b"\xff" and _is_mpeg(head))
    if by_name or by_content:
        how = "name" if by_name else "content"
        raise ConfigError(
            f"{shown} is a recording by its {how}, and no recording is written to.",
            "Name another file for the results.",
        )


def _is_mpeg(head: bytes) -> bool:
    """Whether a frame of MP3 or AAC begins here: eleven bits of one. FF FE and FF FF begin other things."""
    return len(head) > 1 and head[1] & 0xE0 == 0xE0 and head[1] < 0xFE


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _try_folder(path: Path) -> None:
    """Raise OSError now rather than after the work, where no file can be made beside the target."""
    target = Path(os.path.realpath(path))
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is write-protected")
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".cradlewatch.")
    os.close(descriptor)
    Path(name).unlink()
