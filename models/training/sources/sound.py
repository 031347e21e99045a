"""Decode any recording to 16 kHz mono, and write the data set's one codec: Ogg Opus."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models.training.sources.fetch import SourceError
from monitor.errors import AudioFileError, ConfigError
from monitor.types import SAMPLE_RATE_HZ

FFMPEG_ONLY: Final = {".3gp", ".caf", ".g722", ".m4a", ".mp4", ".amr"}
"""Containers and codecs that libsndfile has not, or has not for certain."""
COMPRESSION_LEVEL: Final = 0.8
"""libsndfile's scale; for Opus about 57 kbit/s, what the first data set was written with."""

BITS_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def decode(path: Path) -> NDArray[np.float32]:
    """The whole recording as float32 (n,), mean of its channels, 16 kHz.

    Raises AudioFileError, or SourceError when ffmpeg is needed and not installed.
    """
    if path.suffix.lower() in FFMPEG_ONLY:
        samples, rate = _through_ffmpeg(path)
    else:
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioFileError(f"{path} cannot be decoded: {error}.") from error
    mono = samples.mean(axis=1, dtype=np.float32)
    if not len(mono):
        raise AudioFileError(f"{path} holds no samples.")
    return mono if rate == SAMPLE_RATE_HZ else soxr.resample(mono, rate, SAMPLE_RATE_HZ)


def _through_ffmpeg(path: Path) -> tuple[NDArray[np.float32], int]:
    program = shutil.which("ffmpeg")
    if program is None:
        raise SourceError(
            f"{path.suffix} files need ffmpeg, which is not installed.", "Install Debian's package ffmpeg."
        )
    form = ["-f", "g722"] if path.suffix == ".g722" else []
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "decoded.wav"
        command = [program, "-nostdin", "-v", "error", *form, "-i", str(path), "-c:a", "pcm_s16le", str(wav)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not wav.is_file():
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise AudioFileError(f"{path} cannot be decoded by ffmpeg: {reason[0]}.")
        return soundfile.read(wav, dtype="float32", always_2d=True)


def quantised(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """16 bit, clipped; what is encoded and measured."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def write_opus(path: Path, pcm: NDArray[np.int16]) -> str:
    """Write int16 (n,), 16 kHz, in one step; equal samples and name give an equal file. Returns its SHA-256.

    Raises ConfigError when the installed libsndfile cannot write Opus.
    """
    memory = io.BytesIO()
    try:
        soundfile.write(
            memory, pcm, SAMPLE_RATE_HZ, format="OGG", subtype="OPUS", compression_level=COMPRESSION_LEVEL
        )
    except (soundfile.LibsndfileError, ValueError) as error:
        raise ConfigError(
            f"this libsndfile ({soundfile.__libsndfile_version__}) cannot write Ogg Opus: {error}.",
            "Install soundfile >= 0.13, whose wheels can.",
        ) from error
    # libsndfile draws the stream's serial number at random, which would give every run other hashes.
    content = with_serial(memory.getvalue(), zlib.crc32(path.name.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return hashlib.sha256(content).hexdigest()


def with_serial(ogg: bytes, serial: int) -> bytes:
    """The same Ogg stream with another serial number on each page (RFC 3533, section 6)."""
    out = bytearray(ogg)
    page = 0
    while page < len(out):
        segments = out[page + 26]
        stop = page + 27 + segments + sum(out[page + 27 : page + 27 + segments])
        out[page + 14 : page + 18] = serial.to_bytes(4, "little")
        out[page + 22 : page + 26] = bytes(4)
        out[page + 22 : page + 26] = _ogg_crc(bytes(out[page:stop])).to_bytes(4, "little")
        page = stop
    return bytes(out)


def _ogg_crc(page: bytes) -> int:
    """CRC-32 as Ogg has it: zlib's polynomial, but bits in the other order, and no inversions."""
    reflected = zlib.crc32(page.translate(BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
