"""libsndfile behind one door: a file becomes one channel of int16, and damage becomes a length."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from typing_extensions import override

from monitor.capture.resample import saturated
from monitor.errors import AudioFileError

FLOAT_SUBTYPES: Final = frozenset({"FLOAT", "DOUBLE", "VORBIS", "OPUS"})
"""And MPEG_LAYER_*. libsndfile scales integer formats to int16; from these it would cut or wrap."""

LOWEST_RATE_HZ: Final = 2_000
HIGHEST_RATE_HZ: Final = 768_000

PLACEHOLDER_BYTES: Final = 0x7FFF_0000
"""A WAV header that was never completed holds 2 or 4 GiB less a little: no promise at all."""

MOST_SAMPLES_AT_ONCE: Final = 4_000_000
"""Of all channels together: a header of 1024 channels must not cost gigabytes."""

MOST_FRAMES_PER_BYTE: Final = 1_000
"""Beyond what silence compresses to; a header that claims more knows nothing."""

SEARCH_STEPS_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""How far behind a damaged place to look for audio that decodes again."""

_CUT_OFF = re.compile(r"^\s*(data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound file that is only read onwards.

    soundfile seeks after each read where it can. That is one more chance to fail in a damaged file,
    and in a lossy one the audio would depend on the block size.
    """

    @override
    def seekable(self) -> bool:
        return False


class SoundFileReader:
    """One channel of a sound file, from start to end.

    Raises AudioFileError when the file cannot be read at all: names it, the reason and the remedy.
    """

    def __init__(self, path: Path, channel: int) -> None:
        self._path = path
        self._file = _open(path)
        self.rate_hz: int = self._file.samplerate
        self._channel = _choose_channel(path, self._file.channels, channel)
        if not LOWEST_RATE_HZ <= self.rate_hz <= HIGHEST_RATE_HZ:
            raise AudioFileError(
                f"{path}: a sample rate of {self.rate_hz} Hz is no sound recording.",
                f"Convert it to {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz.",
            )
        subtype = self._file.subtype
        self._is_float = subtype in FLOAT_SUBTYPES or subtype.startswith("MPEG")
        self._promised = _promised_frames(path, self._file)
        self._position = 0
        self._not_numbers = 0
        self._damaged = 0

    @property
    def duration_s(self) -> float | None:
        return None if self._promised is None else self._promised / self.rate_hz

    @property
    def description(self) -> str:
        file = self._file
        return (
            f"{self._path}: {file.format} {file.subtype}, {self.rate_hz} Hz,"
            f" channel {self._channel} of {file.channels}"
        )

    @property
    def fault(self) -> str:
        """What is wrong with the file, as far as it was read; empty for a sound one."""
        faults = []
        if self._damaged:
            faults.append(f"{self._damaged / self.rate_hz:.1f} s are damaged or missing")
        if self._not_numbers:
            faults.append(f"{self._not_numbers} samples are no numbers and became silence")
        return f"{self._path}: {'; '.join(faults)}." if faults else ""

    def read(self, n_frames: int) -> NDArray[np.int16] | int | None:
        """Next audio (int16, shape (n,), 0 < n <= n_frames), frames that are lost, or None at the end."""
        n_frames = min(n_frames, max(1, MOST_SAMPLES_AT_ONCE // self._file.channels))
        audio, failed = self._decode(n_frames)
        if len(audio):
            return audio
        if failed:
            audio, _ = self._decode(n_frames)  # MP3 goes on by itself
            if len(audio):
                return audio
        if self._promised is not None and self._position < self._file.frames:
            return self._resume_behind_damage()
        return self._rest()

    def close(self) -> None:
        self._file.close()

    def _decode(self, n_frames: int) -> tuple[NDArray[np.int16], bool]:
        """What could be decoded, and whether there was an error behind it."""
        dtype = np.float32 if self._is_float else np.int16
        buffer = np.zeros((n_frames, self._file.channels), dtype)
        failed = False
        try:
            n_read = len(self._file.read(n_frames, out=buffer))
        except soundfile.LibsndfileError:
            # The frames before the damage are in the buffer; only libsndfile's position tells how many.
            n_read = max(0, self._file.tell() - self._position)
            failed = True
        self._position += n_read
        return self._as_int16(buffer[:n_read, self._channel]), failed

    def _as_int16(self, audio: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.int16]:
        if audio.dtype == np.int16:
            return np.ascontiguousarray(audio, np.int16)
        with np.errstate(invalid="ignore"):  # a signalling NaN; below, each is made silence
            scaled = np.clip(audio.astype(np.float32), -1.0, 1.0) * np.float32(32_768)
        not_numbers = np.isnan(scaled)  # infinities have been clipped
        if not_numbers.any():
            self._not_numbers += int(np.count_nonzero(not_numbers))
            scaled[not_numbers] = 0.0
        return saturated(scaled)

    def _resume_behind_damage(self) -> int | None:
        """Find a place behind the damage that decodes; how many frames lie between."""
        for step_s in SEARCH_STEPS_S:
            candidate = _open(self._path)
            target = self._position + round(step_s * self.rate_hz)
            try:
                candidate.seek(target)
                decodes = len(candidate.read(1, dtype="int16")) == 1
                candidate.seek(target)
            except soundfile.LibsndfileError:
                decodes = False
            if not decodes:
                candidate.close()
                continue
            self._file.close()
            self._file = candidate
            self._damaged += target - self._position
            lost, self._position = target - self._position, target
            return lost
        return self._rest()

    def _rest(self) -> int | None:
        """Frames that the header promised and the file does not hold, once; then None."""
        missing = 0 if self._promised is None else self._promised - self._position
        if missing <= 0:
            return None
        self._position += missing
        self._damaged += missing
        return missing


def _open(path: Path) -> _ForwardFile:
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise AudioFileError(f"{path} cannot be read: {error.strerror}.") from error
    if is_empty:
        raise AudioFileError(f"{path} is empty: it has 0 bytes.", "Was the recording interrupted?")
    try:
        return _ForwardFile(os.fsencode(path))
    except soundfile.LibsndfileError as error:
        raise AudioFileError(
            f"{path} is no sound file that can be read: {error.error_string.rstrip('.')}.",
            "WAV, FLAC, Ogg (Vorbis, Opus), MP3 and AIFF can be; convert it, e.g. with ffmpeg.",
        ) from error


def _choose_channel(path: Path, channels: int, channel: int) -> int:
    if channels == 1:
        return 0
    if not 0 <= channel < channels:
        raise AudioFileError(
            f"{path} has {channels} channels, and channel {channel} is not one of them.",
            f"Choose 0 to {channels - 1}.",
        )
    return channel


def _promised_frames(path: Path, file: soundfile.SoundFile) -> int | None:
    """Frames by the header, of which a truncated file holds fewer; None when it does not know."""
    frames: int = file.frames
    if frames > MOST_FRAMES_PER_BYTE * path.stat().st_size:
        return None
    # libsndfile corrects the length of a cut-off WAV or AIFF file and tells of it only in its log.
    cut_off = _CUT_OFF.search(file.extra_info)
    if cut_off is None:
        return frames
    claimed, held = int(cut_off[2]), int(cut_off[3])
    if claimed >= PLACEHOLDER_BYTES or held <= 0 or claimed <= held:
        return frames
    return frames + round(frames * (claimed - held) / held)
