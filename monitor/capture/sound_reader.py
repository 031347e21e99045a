"""A sound file from start to end, however many recordings it holds and whatever their headers claim."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.capture.byte_view import FileBytes
from monitor.capture.find_links import find_links, find_links_after_garbage
from monitor.capture.links import Link
from monitor.capture.sound_file import SoundLink, UndecodableError
from monitor.capture.spool import open_recording
from monitor.errors import AudioFileError
from monitor.words import count

LOWEST_RATE_HZ: Final = 2_000
HIGHEST_RATE_HZ: Final = 768_000


class SoundFileReader:
    """One channel of a sound file, from start to end.

    ``rate_hz`` is that of what was read last: recordings that were joined into one file may differ.
    Raises AudioFileError when the file cannot be read at all: names it, the reason and the remedy.
    """

    def __init__(self, path: Path, channel: int, *, takes_pipe: bool = True) -> None:
        self._path = path
        self._channel = channel
        self._descriptor = open_recording(path, takes_pipe=takes_pipe)
        self._bytes = FileBytes(self._descriptor)
        self._missing = 0
        self._lost_s = 0.0
        self._not_numbers = 0
        self._undecoded = 0
        self._refusal = ""
        self._is_cut_off = False
        try:
            self._sound = self._first()
            _check_channel(path, self._sound, channel)
        except BaseException:
            os.close(self._descriptor)
            raise
        self.rate_hz = self._sound.rate_hz

    @property
    def duration_s(self) -> float | None:
        """Length by the headers; None where one does not know."""
        return self._duration_s

    @property
    def description(self) -> str:
        sound = self._sound
        return f"{self._path}: {sound.kind}, {sound.rate_hz} Hz, channel {sound.channel} of {sound.channels}"

    @property
    def fault(self) -> str:
        """What is wrong with the file, as far as it was read; empty for a sound one."""
        faults = []
        lost_s = self._lost_s + self._sound.lost / self._sound.rate_hz
        if lost_s:
            faults.append(f"{_duration(lost_s)} damaged or missing")
        if self._undecoded:
            faults.append(f"{_size(self._undecoded)} of it cannot be decoded and were not heard")
        if self._bytes.failure:
            faults.append(f"the disk did not give all of it ({self._bytes.failure})")
        if self._is_cut_off and not lost_s:
            faults.append("its end is cut off, and how much is missing is not known")
        not_numbers = self._not_numbers + self._sound.not_numbers
        if not_numbers:
            faults.append(f"{count(not_numbers, 'sample')} without a number became silence")
        return f"{self._path}: {'; '.join(faults)}." if faults else ""

    @property
    def better_channel(self) -> int | None:
        """Another channel that sounds, where ours has not yet: in the newest of joined recordings."""
        return self._sound.better_channel

    def read(self, n_frames: int) -> NDArray[np.int16] | int | None:
        """Next audio (int16, shape (n,), 0 < n <= n_frames), frames that are lost, or None at the end.

        Both in frames of ``rate_hz``.
        """
        while True:
            if self._missing:
                missing, self._missing = self._missing, 0
                return missing
            run = self._sound.read(n_frames)
            if run is not None or not self._go_on():
                return run

    def close(self) -> None:
        self._sound.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _first(self) -> SoundLink:
        if self._bytes.size == 0:
            raise AudioFileError(f"{self._path} is empty: it has 0 bytes.", "Was the recording interrupted?")
        for find in (find_links, find_links_after_garbage):
            self._coming = deque(find(self._bytes))
            links = tuple(self._coming)
            self._undecoded = 0
            sound = self._next()
            if sound is not None:
                self._duration_s = _length_s(self._bytes, links, self._channel)
                return sound
        if self._bytes.failure:
            raise AudioFileError(f"{self._path} cannot be read: {self._bytes.failure}.")
        raise AudioFileError(
            f"{self._path} is not a sound file that can be read: {self._refusal}.",
            "WAV, FLAC, Ogg (Vorbis, Opus, FLAC), MP3 and AIFF can be; convert it, e.g. with ffmpeg.",
        )

    def _next(self) -> SoundLink | None:
        """The next recording that can be decoded; what cannot is counted."""
        while self._coming:
            link = self._coming.popleft()
            self._is_cut_off = link.is_cut_off
            try:
                return _opened(self._bytes, link, self._channel)
            except UndecodableError as error:
                self._refusal = self._refusal or str(error)
                self._undecoded += link.stop - link.start
        return None

    def _go_on(self) -> bool:
        """Turn to the next recording of the file; False when there is none."""
        before, after = self._sound, self._next()
        if after is None:
            return False
        self._not_numbers += before.not_numbers
        self._lost_s += before.lost / before.rate_hz + after.lost_before_s
        before.close()
        self._sound, self.rate_hz = after, after.rate_hz
        self._missing = round(after.lost_before_s * after.rate_hz)
        return True


def _opened(file: FileBytes, link: Link, channel: int) -> SoundLink:
    sound = SoundLink(file, link, channel)
    if LOWEST_RATE_HZ <= sound.rate_hz <= HIGHEST_RATE_HZ:
        return sound
    sound.close()
    raise UndecodableError(
        f"a sample rate of {sound.rate_hz} Hz is outside {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz"
    )


def _length_s(file: FileBytes, links: Iterable[Link], channel: int) -> float | None:
    """All that can be decoded, with what is lost in between; None where a header does not know."""
    length_s = 0.0
    for link in links:
        try:
            sound = _opened(file, link, channel)
        except UndecodableError:
            continue
        sound.close()
        if sound.frames is None:
            return None
        length_s += sound.frames / sound.rate_hz + (sound.lost_before_s if length_s else 0.0)
    return length_s


def _check_channel(path: Path, sound: SoundLink, channel: int) -> None:
    if sound.channels > 1 and not 0 <= channel < sound.channels:
        sound.close()
        raise AudioFileError(
            f"{path} has {sound.channels} channels, and channel {channel} is not one of them.",
            f"Choose 0 to {sound.channels - 1}.",
        )


def _duration(lost_s: float) -> str:
    return "less than 0.1 s is" if lost_s < 0.1 else f"{lost_s:.1f} s are"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1_000_000 else f"{n_bytes} bytes"
