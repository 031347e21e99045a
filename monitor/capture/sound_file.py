"""libsndfile behind one door: a recording within a file becomes one channel of int16, damage a length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from typing_extensions import override

from monitor.capture.byte_view import ByteView, FileBytes
from monitor.capture.channels import ChannelWatch, better_channel
from monitor.capture.links import Link
from monitor.capture.quiet import quiet
from monitor.capture.resample import saturated

FLOAT_SUBTYPES: Final = frozenset({"FLOAT", "DOUBLE", "VORBIS", "OPUS"})
"""And MPEG_LAYER_*. libsndfile scales integer formats to int16; from these it would cut or wrap."""

SAMPLE_BYTES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("PCM_S8", "PCM_U8", "ALAW", "ULAW"), 1),
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
}
"""Formats of which the samples need no header to be read."""

MOST_SAMPLES_AT_ONCE: Final = 4_000_000
"""Of all channels together: a header of 1024 channels must not cost gigabytes."""

MOST_FRAMES_PER_BYTE: Final = 1_000
"""Beyond what silence compresses to; a header that claims more, and more than a day, knows nothing."""

BELIEVED_S: Final = 24 * 3600
"""A recording that was cut off after its header is short of all that the header promises."""

SEARCH_STEPS_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""How far after a damaged place to look for audio that decodes again."""

AUDIBLE_LOSS_S: Final = 0.1
"""Less is not damage: many a writer counts its own header, and a decoder's first block, as audio."""


class UndecodableError(Exception):
    """libsndfile cannot read it; the text is its reason."""


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound file that is only read onwards.

    soundfile seeks after each read where it can. That is one more chance to fail in a damaged file,
    and in a lossy one the audio would depend on the block size.
    """

    @override
    def seekable(self) -> bool:
        return False


class SoundLink:
    """One channel of one recording within a file, from start to end. Raises UndecodableError."""

    def __init__(self, bytes_: FileBytes, link: Link, channel: int) -> None:
        """``channel`` counts from 0; where there are fewer, the last one is heard."""
        self._bytes = bytes_
        self._link = link
        self._raw: dict[str, Any] = {}
        self._open()
        file = self._file
        self.rate_hz: int = file.samplerate
        self.channels: int = file.channels
        self.kind = f"{file.format} {file.subtype}"
        width = SAMPLE_BYTES.get(file.subtype, 0) * file.channels
        if link.samples is not None and width and file.frames != len(link.samples) // width:
            self._read_samples_themselves(len(link.samples) // width)
        self.channel = min(channel, self.channels - 1)
        self._watch = ChannelWatch(self.channels)
        self._is_float = file.subtype in FLOAT_SUBTYPES or file.subtype.startswith("MPEG")
        self._promised = self._promised_frames(width)
        self._margin = round(AUDIBLE_LOSS_S * self.rate_hz)
        self._position = 0
        self.not_numbers = 0
        self.lost = 0
        """Frames that are damaged or missing, as far as it was read."""

    @property
    def lost_before_s(self) -> float:
        """Seconds that are damaged or missing between the link before and this one."""
        if self._link.spans_s is None:
            return self._link.lost_s
        lost_s = self._link.spans_s - int(self._file.frames) / self.rate_hz
        return lost_s if lost_s >= AUDIBLE_LOSS_S else 0.0  # less is how a decoder begins

    @property
    def better_channel(self) -> int | None:
        """Another channel that sounds, where ours has not yet."""
        return better_channel(self._watch.moved, self.channel)

    @property
    def frames(self) -> int | None:
        """Frames by the header; None when it does not know."""
        return self._promised

    def read(self, n_frames: int) -> NDArray[np.int16] | int | None:
        """Next audio (int16, shape (n,), 0 < n <= n_frames), frames that are lost, or None at the end."""
        n_frames = min(n_frames, max(1, MOST_SAMPLES_AT_ONCE // self.channels))
        audio, failed = self._decode(n_frames)
        if len(audio):
            return audio
        if failed:
            audio, _ = self._decode(n_frames)  # MP3 goes on by itself
            if len(audio):
                return audio
        if self._promised is not None and self._position < min(self._promised, self._file.frames):
            return self._resume_after_damage()
        return self._rest()

    def close(self) -> None:
        with quiet():
            self._file.close()

    def _open(self) -> None:
        self._file = self._opened()

    def _opened(self) -> _ForwardFile:
        pieces = [self._link.samples] if self._raw and self._link.samples else self._link.pieces
        try:
            with quiet():
                return _ForwardFile(ByteView(self._bytes, pieces), "r", **self._raw)
        except soundfile.LibsndfileError as error:
            reason = str(error.error_string).rstrip(".")
            # How libsndfile puts it, which has no file but ours to read.
            is_cut_off = reason.startswith("File does not exist")
            raise UndecodableError("it ends within its header" if is_cut_off else reason) from error
        except RuntimeError as error:  # what soundfile makes of a channel count of 0
            raise UndecodableError(str(error).rstrip(".")) from error

    def _read_samples_themselves(self, n_frames: int) -> None:
        """Without a header, which cannot say how many there are."""
        file = self._file
        self._raw = {
            "format": "RAW",
            "subtype": file.subtype,
            "samplerate": file.samplerate,
            "channels": file.channels,
            "endian": self._link.byte_order,
        }
        file.close()
        self._open()
        assert self._file.frames == n_frames

    def _promised_frames(self, width: int) -> int | None:
        """Frames by the header, of which a truncated file holds fewer; None when it does not know."""
        link, frames = self._link, int(self._file.frames)
        if link.claimed_frames is not None:
            frames = link.claimed_frames
        elif link.claimed_bytes is not None and link.samples is not None:
            held = max(1, len(link.samples))
            frames = link.claimed_bytes // width if width else round(frames * link.claimed_bytes / held)
        most = max(MOST_FRAMES_PER_BYTE * self._bytes.size, BELIEVED_S * self.rate_hz)
        return None if frames > most else frames

    def _decode(self, n_frames: int) -> tuple[NDArray[np.int16], bool]:
        """What could be decoded, and whether an error came after it."""
        dtype = np.float32 if self._is_float else np.int16
        buffer = np.zeros((n_frames, self.channels), dtype)
        failed = False
        try:
            with quiet():
                n_read = len(self._file.read(n_frames, out=buffer))
        except soundfile.LibsndfileError:
            # The frames before the damage are in the buffer; only libsndfile's position tells how many.
            n_read = max(0, self._file.tell() - self._position)
            failed = True
        self._position += n_read
        self._watch.observe(buffer[:n_read].reshape(-1).data)
        return self._as_int16(buffer[:n_read, self.channel]), failed

    def _as_int16(self, audio: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.int16]:
        if audio.dtype == np.int16:
            return np.ascontiguousarray(audio, np.int16)
        with np.errstate(invalid="ignore"):  # a signalling NaN; below, each is made silence
            scaled = np.clip(audio.astype(np.float32), -1.0, 1.0) * np.float32(32_768)
        not_numbers = np.isnan(scaled)  # infinities have been clipped
        if not_numbers.any():
            self.not_numbers += int(np.count_nonzero(not_numbers))
            scaled[not_numbers] = 0.0
        return saturated(scaled)

    def _resume_after_damage(self) -> int | None:
        """Find a place after the damage that decodes; how many frames lie between."""
        for step_s in SEARCH_STEPS_S:
            candidate = self._opened()
            target = self._position + round(step_s * self.rate_hz)
            if not _decodes(candidate, target):
                candidate.close()
                continue
            self._file.close()
            self._file = candidate
            self.lost += target - self._position
            lost, self._position = target - self._position, target
            return lost
        return self._rest()

    def _rest(self) -> int | None:
        """Frames that the header promised and the file does not hold, once; then None."""
        missing = 0 if self._promised is None else self._promised - self._position
        if missing <= self._margin:
            return None
        self._position += missing
        self.lost += missing
        return missing


def _decodes(file: _ForwardFile, target: int) -> bool:
    """Whether there is audio at ``target``; the file then stands there."""
    try:
        with quiet():
            file.seek(target)
            decodes = len(file.read(1, dtype="int16")) == 1
            file.seek(target)
    except soundfile.LibsndfileError:
        return False
    return decodes
