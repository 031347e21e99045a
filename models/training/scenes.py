"""Training scenes: ten seconds of a nursery, put together so that every 80 ms step has a true label.

A scene is a background, sometimes a cry, and distractors, each in a room, at a level and through a
microphone drawn at random. The classes share every one of these chances: a cry must not be told by
its phone's bandwidth, its loudness or its echo (data README, known defects 2 and 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training import corpus, mixing
from monitor.types import SAMPLE_RATE_HZ

SCENE_S: Final = 10
STEP_SAMPLES: Final = 1280
"""80 ms, the gate's output step."""
STEPS: Final = SCENE_S * SAMPLE_RATE_HZ // STEP_SAMPLES

CONTINUOUS: Final = frozenset({
    "airplane", "ambient", "brown_noise", "chainsaw", "clock", "crowd", "dryer", "engine", "fan", "fire",
    "helicopter", "insects", "machine", "pink_noise", "quiet_room", "radio", "rain", "sea_waves", "traffic",
    "train", "vacuum", "washing_machine", "water", "white_noise", "wind",
})  # fmt: skip
"""Labels that serve as a background as well as a distractor."""

HARD_NEGATIVES: Final = {
    "cat": 5.0, "laugh": 5.0, "baby_laugh": 5.0, "singing": 4.0, "siren": 3.0, "speech": 3.0, "rooster": 2.0,
    "sheep": 3.0, "birds": 1.5, "chirping_birds": 1.5, "dog": 2.0, "music": 2.5, "fire": 1.5, "sneeze": 1.5,
    "howl": 3.0, "cow": 2.0, "cat_imitation": 3.0, "animal_other": 2.0, "radio": 2.0, "snore": 1.5,
}  # fmt: skip
"""How much more often a label is drawn than its share of clips; what the field mistakes for a cry."""

SURELY_NO_CRY: Final = 0.001
SURELY_CRY: Final = 0.4
"""Scores of the AudioSet model between which an unverified upload is left out: 2 % of the verified
cries score below the first, and the second keeps the clearest tenth."""


@dataclass(frozen=True)
class Pool:
    """The clips that scenes of one split are made of."""

    cries: Sequence[corpus.Clip]
    events: Sequence[corpus.Clip]
    event_weights: NDArray[np.float64]
    backgrounds: Sequence[corpus.Clip]
    rirs: Sequence[NDArray[np.float32]]


def pool(root: Path, split: corpus.Split, *, only_train_ok: bool) -> Pool:
    """Choose the clips of one split; ``only_train_ok`` keeps to licences that allow a release."""
    clips = [c for c in corpus.load_manifest(root) if c.split == split and (c.train_ok or not only_train_ok)]
    cries = [c for c in clips if c.label == "cry" or _is_clear_upload(c)]
    events = [
        c
        for c in clips
        if c.label not in {"cry", "cry_unverified"}
        or (c.label == "cry_unverified" and (c.mn04_cry or 0.0) < SURELY_NO_CRY)
    ]
    counts: dict[str, int] = {}
    for clip in events:
        counts[clip.label] = counts.get(clip.label, 0) + 1
    # Between per-clip and per-label drawing: the square root of a label's size, times its difficulty.
    weights = np.array([HARD_NEGATIVES.get(c.label, 1.0) / np.sqrt(counts[c.label]) for c in events])
    return Pool(
        cries=cries,
        events=events,
        event_weights=weights / weights.sum(),
        backgrounds=[c for c in clips if c.label in CONTINUOUS],
        rirs=corpus.load_rirs(root, split),
    )


def _is_clear_upload(clip: corpus.Clip) -> bool:
    return clip.label == "cry_unverified" and (clip.mn04_cry or 0.0) > SURELY_CRY


@dataclass(frozen=True)
class Scene:
    """``audio`` int16 (160000,); ``label`` and ``weight`` float32 (STEPS,)."""

    audio: NDArray[np.int16]
    label: NDArray[np.float32]
    weight: NDArray[np.float32]


class SceneMaker:
    """Makes scenes from a pool, each from its own generator: scene k is the same in any order."""

    def __init__(
        self,
        root: Path,
        cache: Path,
        split: corpus.Split,
        *,
        only_train_ok: bool,
        seed: int,
    ) -> None:
        self._pool = pool(root, split, only_train_ok=only_train_ok)
        self._store = corpus.AudioStore(root, cache)
        self._seed = seed

    def make(self, index: int) -> Scene:
        rng = np.random.default_rng([self._seed, index])
        n = SCENE_S * SAMPLE_RATE_HZ
        track, background_dbfs = self._background(n, rng)
        for _ in range(int(rng.choice(4, p=[0.3, 0.4, 0.2, 0.1]))):
            wet = self._distractor(rng)
            active = mixing.active_level_dbfs(wet)
            if active <= -90.0:
                continue
            level = float(np.clip(background_dbfs + rng.uniform(-3.0, 35.0), -60.0, -6.0))
            mixing.add_at(track, int(rng.integers(-len(wet) // 2, n)), mixing.gain(wet, level - active))
        label = np.zeros(STEPS, np.float32)
        weight = np.ones(STEPS, np.float32)
        if rng.random() < 0.5:
            self._add_cries(track, label, weight, background_dbfs, rng)
        return Scene(_through_microphone(track, rng), label, weight)

    def _background(self, n: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], float]:
        dbfs = float(rng.uniform(-80.0, -32.0))
        if rng.random() < 0.65:
            clip = self._pool.backgrounds[int(rng.integers(len(self._pool.backgrounds)))]
            samples = self._store.samples(clip)
            if mixing.level_dbfs(samples) > -90.0:
                looped = mixing.loop_to_length(samples, n, SAMPLE_RATE_HZ // 2, rng)
                return mixing.at_level(looped, dbfs), dbfs
        return mixing.at_level(coloured_noise(n, rng), dbfs), dbfs

    def _distractor(self, rng: np.random.Generator) -> NDArray[np.float32]:
        clip = self._pool.events[int(rng.choice(len(self._pool.events), p=self._pool.event_weights))]
        return self._event(clip, rng, round(float(rng.uniform(0.8, 1.25)) * 50) / 50)

    def _event(self, clip: corpus.Clip, rng: np.random.Generator, speed: float) -> NDArray[np.float32]:
        samples = self._store.samples(clip)
        limit = SCENE_S * SAMPLE_RATE_HZ
        if len(samples) > limit:
            start = int(rng.integers(len(samples) - limit))
            samples = samples[start : start + limit]
        return self._placed(mixing.change_speed(samples, speed), rng)

    def _placed(self, samples: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Through a narrow-band phone, in a room, or as it is."""
        if rng.random() < 0.4:
            samples = mixing.band_limit(samples, 100.0 * int(rng.integers(33, 43)))
        if rng.random() < 0.6:
            samples = mixing.convolve_rir(samples, self._pool.rirs[int(rng.integers(len(self._pool.rirs)))])
        return samples

    def _add_cries(
        self,
        track: NDArray[np.float32],
        label: NDArray[np.float32],
        weight: NDArray[np.float32],
        background_dbfs: float,
        rng: np.random.Generator,
    ) -> None:
        clip = self._pool.cries[int(rng.integers(len(self._pool.cries)))]
        clean = self._event(clip, rng, round(float(rng.uniform(0.9, 1.12)) * 50) / 50)
        mask = mixing.active_mask(clean)
        active = mixing.active_level_dbfs(clean, mask)
        if active <= -90.0:
            return
        snr_db = float(rng.uniform(-3.0, 30.0))
        level = float(np.clip(background_dbfs + snr_db, -62.0, -6.0))
        start = int(rng.integers(-len(clean) // 2, len(track) - SAMPLE_RATE_HZ))
        mixing.add_at(track, start, mixing.gain(clean, level - active))
        present = np.zeros(len(track), np.float32)
        mixing.add_at(present, start, np.repeat(mask, mixing.FRAME_SAMPLES)[: len(clean)].astype(np.float32))
        share = present.reshape(STEPS, STEP_SAMPLES).mean(axis=1)
        np.maximum(label, (share > 0.5).astype(np.float32), out=label)
        # Edges are a matter of taste, and a cry that the AudioSet model does not hear may be none.
        edge = (share > 0.0) & (share < 1.0)
        weight[edge] *= 0.3
        doubtful = clip.mn04_cry is not None and clip.mn04_cry < 0.05
        weight[share > 0.0] *= 0.3 if doubtful else 1.0


def coloured_noise(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise whose power falls by a random 0-8 dB an octave, sometimes with mains hum."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.maximum(np.fft.rfftfreq(n, 1.0 / SAMPLE_RATE_HZ), 20.0)
    slope = rng.uniform(0.0, 8.0)
    noise = np.fft.irfft(spectrum * (hz / 1000.0) ** (-slope / 6.02), n)
    noise /= noise.std()
    if rng.random() < 0.3:
        time = np.arange(n) / SAMPLE_RATE_HZ
        base = rng.choice([50.0, 60.0, 100.0, 120.0])
        noise += rng.uniform(0.2, 2.0) * np.sin(2.0 * np.pi * base * time)
    return noise.astype(np.float32)


def _through_microphone(track: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int16]:
    if rng.random() < 0.35:
        track = mixing.band_limit(track, 100.0 * int(rng.integers(34, 76)))
    track = mixing.gain(track, float(rng.uniform(-12.0, 12.0)))
    if rng.random() < 0.05:
        track = mixing.gain(track, 20.0)
    return np.rint(mixing.clip_hard(track) * 32767.0).astype(np.int16)


@dataclass(frozen=True)
class SceneSet:
    """Many scenes in one memory-mapped folder; the arrays of :class:`Scene` with a leading axis."""

    audio: NDArray[np.int16]
    label: NDArray[np.float32]
    weight: NDArray[np.float32]


def load(folder: Path) -> SceneSet:
    """Read what :func:`build` wrote."""
    return SceneSet(
        *(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("audio", "label", "weight"))
    )


def build(
    folder: Path,
    root: Path,
    cache: Path,
    split: corpus.Split,
    *,
    n: int,
    seed: int,
    only_train_ok: bool,
    jobs: int,
) -> SceneSet:
    """Make ``n`` scenes into ``folder``; scenes that are there already are kept."""
    if (folder / "weight.npy").is_file():
        return load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    maker = SceneMaker(root, cache, split, only_train_ok=only_train_ok, seed=seed)
    audio = np.lib.format.open_memmap(
        folder / "audio.npy", mode="w+", dtype=np.int16, shape=(n, SCENE_S * SAMPLE_RATE_HZ)
    )
    label = np.zeros((n, STEPS), np.float32)
    weight = np.zeros((n, STEPS), np.float32)
    with ProcessPoolExecutor(jobs) as workers:
        for index, scene in enumerate(workers.map(maker.make, range(n), chunksize=32)):
            audio[index], label[index], weight[index] = scene.audio, scene.label, scene.weight
    audio.flush()
    np.save(folder / "label.npy", label)
    np.save(folder / "weight.npy", weight)
    return load(folder)
