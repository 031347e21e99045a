"""Recordings: cut off, with headers that lie, with samples that are no numbers, and as raw PCM."""

from __future__ import annotations

import io
import os
import random
import struct
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from typing_extensions import override

from monitor.capture.pcm import PcmStream
from monitor.capture.recording import Recording
from monitor.capture.source import AudioSource
from monitor.cli.scanner import ScanRequest, scan_recording
from monitor.detect.settings import DetectorSettings
from monitor.errors import AudioFileError, ConfigError
from monitor.types import Block, EndOfStream
from tests.capture.damaged import kinds
from tests.fuzz.mutate import NUMBERS, spoiled
from tests.fuzz.target import Target

_FORMATS = (
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "PCM_24"),
    ("WAV", "IMA_ADPCM"),
    ("WAVEX", "PCM_16"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("W64", "DOUBLE"),
    ("AIFF", "PCM_16"),
    ("AU", "FLOAT"),
    ("CAF", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
)
_MOST_RUNS = 200_000


@cache
def seeds() -> tuple[bytes, ...]:
    """Small sound files of every kind, one and two channels."""
    rng = np.random.default_rng(1)
    found = []
    for form, subtype in _FORMATS:
        for channels, rate_hz, n in ((1, 16_000, 1_600), (2, 48_000, 4_800)):
            audio = (0.1 * rng.standard_normal((n, channels))).astype(np.float32)
            file = io.BytesIO()
            soundfile.write(file, audio, rate_hz, format=form, subtype=subtype)
            found.append(file.getvalue())
    return tuple(found)


@cache
def damaged() -> tuple[bytes, ...]:
    """Files as kills, joins and lying headers leave them."""
    return tuple(kind.data for kind in kinds(0.1 * np.random.default_rng(2).standard_normal(8_000)))


def _wav(rng: random.Random) -> bytes:
    """A WAV whose header says what it likes."""
    code, bits = rng.choice(
        ((1, 16), (1, 8), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8), (0x11, 4), (85, 0))
    )
    channels = rng.choice((0, 1, 1, 1, 2, 64, 255, 1024, 65535))
    rate = rng.choice((0, 1, 1999, 2000, 8000, 16_000, 44_100, 192_000, 768_000, 2**31, 2**32 - 1))
    frames = rng.choice((0, 1, 7, 1000))
    body = _samples(rng, code, bits, min(frames * channels, 100_000))
    align = rng.choice((channels * bits // 8 % 65536, rng.choice(NUMBERS) % 65536))
    size = rng.choice((len(body), len(body), 0, 0xFFFFFFFF, 0x7FFFF000, 1 << 20))
    form = struct.pack("<HHIIHH", code, channels, rate, (rate * align) % 2**32, align, bits)
    whole = b"WAVE" + b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + body
    return b"RIFF" + struct.pack("<I", rng.choice((len(whole), 0, 0xFFFFFFFF))) + whole


def _samples(rng: random.Random, code: int, bits: int, n: int) -> bytes:
    if code == 3 and bits in (32, 64):
        values = rng.choices((0.0, 0.5, -1.0, 1e38, float("nan"), float("inf"), float("-inf"), 1e-45), k=n)
        return np.array(values, f"<f{bits // 8}").tobytes()
    return rng.randbytes(n * bits // 8)


def _rf64(rng: random.Random) -> bytes:
    """An RF64 or W64 that claims up to 2^63 frames."""
    frames, size = rng.choice((2**63 - 1, 2**63, 2**40, 2**33, 5)), rng.choice((2**64 - 1, 2**63, 2**41, 100))
    ds64 = struct.pack("<QQQI", size, size, frames, 0)
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    chunks = b"ds64" + struct.pack("<I", len(ds64)) + ds64 + b"fmt " + struct.pack("<I", 16) + form
    return b"RF64\xff\xff\xff\xffWAVE" + chunks + b"data\xff\xff\xff\xff" + bytes(rng.choice((0, 2, 3200)))


class RecordingTarget(Target):
    """Every run of audio or damage that a file gives, to its end."""

    name = "recordings"
    share = 18_000
    limit_s = 20.0
    memory_mb = 384

    @override
    def make(self, rng: random.Random) -> bytes:
        kind = rng.random()
        if kind < 0.25:
            return _wav(rng)
        if kind < 0.3:
            return _rf64(rng)
        if kind < 0.32:
            return rng.randbytes(rng.choice((0, 1, 4, 12, 100)))
        if kind < 0.6:
            return spoiled(rng.choice(damaged()), rng, rng.choice((1, 2, 6)))
        if kind < 0.65:  # joined, with whatever there is between
            first, second = rng.choice(seeds()), rng.choice((*seeds(), *damaged()))
            return spoiled(first + rng.randbytes(rng.choice((0, 0, 7, 1000))) + second, rng, 2)
        return spoiled(rng.choice(seeds()), rng, rng.choice((1, 2, 6)))

    @override
    def feed(self, given: bytes) -> str:
        path = self.folder / "recording"
        path.write_bytes(given)
        source = Recording(path, channel=len(given) % 2)
        try:
            source.start()
            _exhausted(source)
            source.duration_s  # noqa: B018 - it is computed
        except AudioFileError as error:
            return str(error)
        finally:
            source.stop(1.0)
        return source.stats().fault


def _exhausted(source: AudioSource) -> None:
    position = runs = 0
    while not isinstance(item := source.read(1.0), EndOfStream):
        if item is None:
            continue
        runs += 1
        assert item.start == position, "runs join without holes"
        length = len(item.samples) if isinstance(item, Block) else item.length
        assert length > 0
        position = item.stop
        assert runs < _MOST_RUNS, "it does not come to an end"
    stats = source.stats()
    assert stats.samples + stats.lost_samples == position


class ScanTarget(RecordingTarget):
    """The same through the whole of ``scan``: models, episodes and all."""

    name = "scan"
    share = 250
    limit_s = 60.0
    memory_mb = 1024

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._request = ScanRequest(DetectorSettings(model_form="int8"), None, 0)

    @override
    def feed(self, given: bytes) -> str:
        path = self.folder / "recording.wav"
        path.write_bytes(given)
        found = scan_recording(path, self._request)
        assert found.length_s >= 0
        return found.problem or (f"{found.damaged_s} s are damaged." if found.damaged_s else "")


@dataclass(frozen=True)
class Pcm:
    data: bytes
    rate_hz: int
    channels: int
    channel: int
    live: bool
    pieces: int


class PcmTarget(Target):
    name = "raw PCM"
    share = 4_000

    @override
    def make(self, rng: random.Random) -> Pcm:
        channels = rng.choice((1, 1, 2, 3, 64))
        data = rng.randbytes(rng.choice((0, 1, 2, 3, 127, 128, 7680, 20_001, 70_000)))
        rate_hz = rng.choice((8000, 11_025, 16_000, 44_100, 192_000, 0, -1))
        return Pcm(
            data, rate_hz, channels, rng.choice((0, 0, 0, 1, 63, -1)), rng.random() < 0.3, rng.randint(1, 5)
        )

    @override
    def feed(self, given: Pcm) -> str:
        reading, writing = os.pipe()
        writer = threading.Thread(target=_written, args=(writing, given))
        writer.start()
        try:
            source = PcmStream(
                reading,
                rate_hz=given.rate_hz,
                channels=given.channels,
                channel=given.channel,
                live=given.live,
            )
            source.start()
            _exhausted(source)
            source.stop(1.0)
            whole = len(given.data) // (2 * given.channels)
            assert abs(source.stats().samples - whole * 16_000 / given.rate_hz) <= 2
        except ConfigError as error:
            return str(error)
        finally:
            os.close(reading)
            writer.join()
        return ""


def _written(descriptor: int, given: Pcm) -> None:
    step = len(given.data) // given.pieces + 1
    try:
        for at in range(0, len(given.data), step):
            os.write(descriptor, given.data[at : at + step])
    except BrokenPipeError:
        return
    finally:
        os.close(descriptor)
