"""Impulse responses of shoebox rooms by the image-source method (Allen and Berkley, 1979).

Sizes, reverberation times and distances are those of ``models/rooms.csv``; the positions within a room
are drawn from the room's name. Walls reflect alike at all frequencies and in all directions.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from models.training.sources.fetch import SourceError
from models.training.sources.sound import decode
from monitor.types import SAMPLE_RATE_HZ

SPEED_OF_SOUND_M_S: Final = 343.0
FINE: Final = 8
"""Images fall on a grid this much finer than a sample before the band is limited."""
FROM_WALL_M: Final = 0.3
PEAK: Final = 0.95
BIN_S: Final = 0.002
TAIL_S: Final = 0.05
CORRECTIONS: Final = 4

Response = NDArray[np.float32]
"""float32 (n,), 16 kHz."""


@dataclass(frozen=True)
class Shoebox:
    """A room: its size in metres, its reverberation time, and how far the microphone is from the source."""

    size_m: tuple[float, float, float]
    rt60_s: float
    distance_m: float


@dataclass(frozen=True)
class Images:
    """Mirror images of the source: metres to the microphone and number of reflections, (n,) each."""

    distance_m: NDArray[np.float64]
    reflections: NDArray[np.int64]


def response(room: Shoebox, name: str) -> Response:
    """Impulse response, as long as the RT60, peak 0.95; the source sounds at 0."""
    heard = images(room, *positions(room, name))
    # The energies of images add up to another decay than their pressures, which interfere: correct by
    # what came out.
    aim = room.rt60_s
    for _ in range(CORRECTIONS):
        wave = _sum_of(heard, reflection(heard, aim), room)
        aim *= room.rt60_s / decay_time_s(wave**2, 1 / SAMPLE_RATE_HZ)
    wave = _sum_of(heard, reflection(heard, aim), room)
    return (wave * (PEAK / np.abs(wave).max())).astype(np.float32)


def _sum_of(heard: Images, beta: float, room: Shoebox) -> NDArray[np.float64]:
    length = round((room.rt60_s + TAIL_S) * SAMPLE_RATE_HZ)
    arrival = np.rint(heard.distance_m / SPEED_OF_SOUND_M_S * SAMPLE_RATE_HZ * FINE).astype(np.int64)
    inside = arrival < length * FINE
    strength = beta ** heard.reflections[inside] / heard.distance_m[inside]
    fine = np.bincount(arrival[inside], strength, length * FINE)
    spectrum = np.fft.rfft(fine)[: length // 2 + 1]
    # All reflections have one sign, which heaps up at 0 Hz; rooms do not sound below their first mode.
    frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE_HZ)
    first_mode = SPEED_OF_SOUND_M_S / (2 * max(room.size_m))
    return np.fft.irfft(spectrum * (1 - np.exp(-((frequency / first_mode) ** 2))), length)


def positions(room: Shoebox, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Source and microphone, ``distance_m`` apart and 0.3 m off the walls; equal for an equal name.

    Raises ValueError for a room that has no such place.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    size = np.asarray(room.size_m)
    for _ in range(100_000):
        source = rng.uniform(FROM_WALL_M, size - FROM_WALL_M)
        way = rng.standard_normal(3)
        microphone = source + way * (room.distance_m / np.linalg.norm(way))
        if (microphone > FROM_WALL_M).all() and (microphone < size - FROM_WALL_M).all():
            return source, microphone
    raise ValueError(f"no two places {room.distance_m} m apart in room {name!r} of {room.size_m} m")


def images(room: Shoebox, source: NDArray[np.float64], microphone: NDArray[np.float64]) -> Images:
    """All images that arrive within the RT60 and 50 ms.

    Along an axis of length L the images stand at 2 m L + s (2 |m| reflections) and at 2 m L - s
    (|2 m - 1| reflections).
    """
    reach = SPEED_OF_SOUND_M_S * (room.rt60_s + TAIL_S)
    squares, counts = [], []
    for length, s, x in zip(room.size_m, source, microphone, strict=True):
        m = np.arange(-int(reach / (2 * length)) - 1, int(reach / (2 * length)) + 2)
        squares.append(np.concatenate([(2 * m * length + s - x) ** 2, (2 * m * length - s - x) ** 2]))
        counts.append(np.concatenate([2 * np.abs(m), np.abs(2 * m - 1)]))
    total = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    reflections = counts[0][:, None, None] + counts[1][None, :, None] + counts[2][None, None, :]
    near = total <= reach**2
    return Images(np.sqrt(total[near]), reflections[near])


def reflection(heard: Images, rt60_s: float) -> float:
    """Pressure reflected by each wall, so that the energy decays by 60 dB in ``rt60_s``.

    Searched on the images themselves: Sabine's and Eyring's formulas assume a diffuse field, which an
    empty shoebox is not, and miss by 10-30 % here.
    """
    when = (heard.distance_m / SPEED_OF_SOUND_M_S / BIN_S).astype(np.int64)
    width = int(heard.reflections.max()) + 1
    flat = np.bincount(when * width + heard.reflections, heard.distance_m**-2.0)
    energy = np.pad(flat, (0, -len(flat) % width)).reshape(-1, width)
    low, high = 0.01, 0.9999
    for _ in range(40):
        middle = (low + high) / 2
        if decay_time_s(energy @ middle ** (2.0 * np.arange(width)), BIN_S) < rt60_s:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def decay_time_s(energy: NDArray[np.float64], step_s: float) -> float:
    """RT60 from the slope of Schroeder's backward integral between -5 and -25 dB (T20, ISO 3382)."""
    left = np.cumsum(energy[::-1])[::-1]
    level = 10 * np.log10(left / left[0] + 1e-30)
    index = np.flatnonzero((level <= -5) & (level >= -25))
    if len(index) < 2:
        return 0.0
    slope = np.polyfit(index * step_s, level[index], 1)[0]
    return float(-60.0 / slope)


def recorded(folder: Path, samples: int) -> Response:
    """The recorded response of that length at 16 kHz among ``RIRs/*.wav``, peak 0.95. Raises SourceError."""
    for path in sorted(folder.rglob("RIRs/*.wav")):
        wave = decode(path)
        if abs(len(wave) - samples) <= 1:
            return wave * np.float32(PEAK / np.abs(wave).max())
    raise SourceError(f"no impulse response of {samples} samples in {folder.name}.")


def write(path: Path, wave: Response) -> None:
    """Write a response as 16-bit FLAC in one step: Opus would smear its onset."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    soundfile.write(unfinished, wave, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    unfinished.replace(path)
