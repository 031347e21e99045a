"""The cries of the live measurement: real ones of the test split, or our own where the data is absent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training import corpus, mixing
from models.training.mixing import FRAME_SAMPLES, Audio
from monitor.demo import room, voice
from monitor.errors import ConfigError
from monitor.types import SAMPLE_RATE_HZ, samples

CRY_DBFS: Final = -25.0
ROOM_DBFS: Final = -65.0
SHORTEST_S: Final = 4.0
LONGEST_S: Final = 7.0
SOURCES: Final = ("donateacry", "esc50")
LEAST_MN04: Final = 0.3
"""A second opinion on the label; some clips called a cry hold little of one."""
BACKGROUND_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class LiveCry:
    """``samples``: int16 (n,), over the noise of the room; the cry's first audible frame is the first."""

    name: str
    samples: NDArray[np.int16]


def room_noise(duration_s: float, rng: np.random.Generator) -> Audio:
    """A quiet room, float32 (n,)."""
    return np.float32(10.0 ** (ROOM_DBFS / 20.0)) * room.room_tone(samples(duration_s), rng).astype(
        np.float32
    )


def to_int16(x: Audio) -> NDArray[np.int16]:
    return np.rint(mixing.clip_hard(x, 0.999) * 32768.0).astype(np.int16)


def live_cries(count: int, data: Path | None, seed: int) -> tuple[str, list[LiveCry]]:
    """Where they come from, and ``count`` different cries."""
    rng = np.random.default_rng(seed)
    try:
        root = corpus.data_root(data)
    except ConfigError:
        if data is not None:
            raise
        return "synthesised (no public data found)", [_heard(*cry, rng) for cry in _own(count, rng)]
    cries = [_heard(*cry, rng) for cry in _public(root, count, rng)]
    return f"public data, test split, {' and '.join(SOURCES)}", cries


def _heard(name: str, dry: Audio, rng: np.random.Generator) -> LiveCry:
    dry = dry[: samples(LONGEST_S)]
    level = mixing.at_level(dry, CRY_DBFS, active=True)
    return LiveCry(name, to_int16(level + room_noise(len(dry) / SAMPLE_RATE_HZ, rng)[: len(dry)]))


def _public(root: Path, count: int, rng: np.random.Generator) -> list[tuple[str, Audio]]:
    clips = [
        clip
        for clip in corpus.load_manifest(root)
        if clip.split == "test"
        and clip.label == "cry"
        and clip.verified
        and clip.source in SOURCES
        and (clip.mn04_cry or 0.0) > LEAST_MN04
        and not clip.near_dup_of
    ]
    found: list[tuple[str, Audio]] = []
    for index in rng.permutation(len(clips)):
        audio = corpus.read_audio(root / clips[index].path)
        active = np.flatnonzero(mixing.active_mask(audio))
        trimmed = audio[active[0] * FRAME_SAMPLES :] if len(active) else audio[:0]
        if len(trimmed) >= samples(SHORTEST_S):
            found.append((clips[index].path, trimmed))
        if len(found) == count:
            return found
    raise ConfigError(f"--cries {count}: the data has {len(found)} that fit.", "Ask for fewer.")


def _own(count: int, rng: np.random.Generator) -> Iterator[tuple[str, Audio]]:
    """Bouts of the demonstration's synthesiser, each with another pitch and effort."""
    for number in range(count):
        pitch_hz, effort = float(rng.uniform(380.0, 560.0)), float(rng.uniform(0.4, 1.0))
        parts: list[voice.Signal] = []
        while sum(map(len, parts)) < samples(5.0):
            parts.append(voice.cry(float(rng.uniform(0.6, 1.4)), pitch_hz, effort, rng).samples)
            parts.append(np.zeros(samples(float(rng.uniform(0.3, 0.7)))))
        yield f"synthesised {number}", np.concatenate(parts).astype(np.float32)
