"""The recordings of the accelerated nights: what they hold by their headers, and some of our own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from monitor.types import SAMPLE_RATE_HZ, samples
from tests.bench.live_cries import live_cries, room_noise, to_int16
from tests.soak.playlist import LOST_AFTER_EACH, LOST_S

SYNTHESISED_S: Final = 900.0


def expected_samples(files: Sequence[Path]) -> tuple[int, int]:
    """What a stream of ``files`` holds by their headers: samples of audio, and samples that are lost."""
    audio = 0
    for path in files:
        info = soundfile.info(str(path))
        assert info.samplerate == SAMPLE_RATE_HZ, f"{path}: a soak counts samples at {SAMPLE_RATE_HZ} Hz"
        audio += info.frames
    return audio, len(files) // LOST_AFTER_EACH * samples(LOST_S)


def synthesised(folder: Path, count: int, seed: int) -> list[Path]:
    """Quarters of an hour in a quiet room with a cry about every two minutes."""
    rng = np.random.default_rng(seed)
    cries = live_cries(8, None, seed)[1]
    files = []
    for number in range(count):
        audio = to_int16(room_noise(SYNTHESISED_S, rng))
        at = samples(float(rng.uniform(20.0, 60.0)))
        while at + samples(10.0) < len(audio):
            cry = cries[int(rng.integers(len(cries)))].samples
            audio[at : at + len(cry)] = cry
            at += samples(float(rng.uniform(90.0, 150.0)))
        files.append(folder / f"quarter-{number:03}.flac")
        soundfile.write(files[-1], audio, SAMPLE_RATE_HZ)
    return files
