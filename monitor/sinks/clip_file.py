"""Audio becomes the bytes of a sound file: soundfile behind one door, imported with the first clip."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.types import SAMPLE_RATE_HZ, seconds

Format = Literal["flac", "opus"]

SUFFIX: Final[dict[Format, str]] = {"flac": ".flac", "opus": ".opus"}
_CONTAINERS: Final[dict[Format, tuple[str, str]]] = {"flac": ("FLAC", "PCM_16"), "opus": ("OGG", "OPUS")}
_CHUNK: Final = 10 * SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Silence:
    """Audio that is not there, ``length`` samples of it. ``reason`` is a word for the file's comment."""

    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class Clip:
    """int16 runs and silences in order; the crying begins ``onset`` samples behind the first."""

    episode_id: str
    onset: int
    parts: Sequence[NDArray[np.int16] | Silence]

    @property
    def comment(self) -> str:
        """What a listener has to know, the places that are silence for want of audio above all."""
        told = [f"Crying begins at {seconds(self.onset):.2f} s."]
        position = 0
        for part in self.parts:
            if isinstance(part, Silence):
                begin, end = seconds(position), seconds(position + part.length)
                told.append(f"No audio from {begin:.2f} s to {end:.2f} s ({part.reason}).")
            position += part.length if isinstance(part, Silence) else len(part)
        return " ".join(told)


def encoded(clip: Clip, form: Format) -> bytes:
    """The whole file. FLAC gives back every sample; Opus sounds the same. Raises RuntimeError."""
    import soundfile  # noqa: PLC0415 - its 5 MB are for those who keep clips

    container, subtype = _CONTAINERS[form]
    target = io.BytesIO()
    with soundfile.SoundFile(target, "w", SAMPLE_RATE_HZ, 1, format=container, subtype=subtype) as file:
        file.title = f"Episode {clip.episode_id}"
        file.comment = clip.comment
        for part in clip.parts:
            audio = np.zeros(part.length, np.int16) if isinstance(part, Silence) else part
            for begin in range(0, len(audio), _CHUNK):
                chunk = audio[begin : begin + _CHUNK]
                # libsndfile does not scale integers for a coder that works on real numbers.
                file.write(chunk if form == "flac" else chunk.astype(np.float32) / 32_768)
    return target.getvalue()
