"""Cleaner labels: find the crying within a recording that is labelled "cry".

"Verified" means that somebody listened once; such a recording also holds speech, rustle and quiet. A
teacher's head that never heard a recording's baby says where in it the crying is, on the clean clip,
and the scenes' labels follow (confident learning, Northcutt et al. 1911.00068, in its simplest form).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.training import corpus, scenes, teach
from models.training.train import Schedule
from monitor.types import SAMPLE_RATE_HZ

FOLDS = 3
CONVINCING = 0.5
"""Evidence from here on leaves a label whole; below, it shrinks with the evidence."""


def fold_of(group: str) -> int:
    """The fold of a baby's phone, by hash: the same on every machine."""
    return hashlib.sha256(group.encode()).digest()[0] % FOLDS


def clean_audio(cries: Sequence[corpus.Clip], store: corpus.AudioStore) -> NDArray[np.int16]:
    """The clips as they are, padded or cut to a scene's length, int16 (n, 160000)."""
    n = scenes.SCENE_S * SAMPLE_RATE_HZ
    rng = np.random.default_rng(0)
    audio = rng.integers(-1, 2, (len(cries), n)).astype(np.int16)
    for row, clip in zip(audio, cries, strict=True):
        samples = np.rint(store.samples(clip)[:n] * 32767.0).astype(np.int16)
        row[: len(samples)] = samples
    return audio


def evidence(
    cries: Sequence[corpus.Clip],
    clean_columns: NDArray[np.float16],
    columns: NDArray[np.float16],
    scene_set: scenes.SceneSet,
    schedule: Schedule,
    seed: int,
) -> NDArray[np.float32]:
    """Cry probability in each column of each clean clip, (n_cries, n_columns), by heads of other folds."""
    folds = np.array([fold_of(clip.group) for clip in cries])
    of_scene = np.array([-1 if number < 0 else folds[int(number)] for number in scene_set.cry[:, 0]])
    result = np.zeros((len(cries), clean_columns.shape[2]), np.float32)
    for fold in range(FOLDS):
        others = np.flatnonzero(of_scene != fold)
        part = scenes.SceneSet(
            scene_set.audio, scene_set.label[others], scene_set.weight[others], scene_set.cry[others]
        )
        head = teach.train_head(columns[others], part, schedule, seed + fold)
        own = np.flatnonzero(folds == fold)
        with torch.no_grad():
            result[own] = torch.sigmoid(head(torch.from_numpy(clean_columns[own].astype(np.float32)))).numpy()
    return result


def relabel(
    scene_set: scenes.SceneSet, cries: Sequence[corpus.Clip], found: NDArray[np.float32]
) -> scenes.SceneSet:
    """The same scenes with labels in [0, 1] that shrink where the evidence is thin."""
    label = np.array(scene_set.label)
    centres_s = (np.arange(scenes.STEPS) + 0.5) * scenes.STEP_SAMPLES / SAMPLE_RATE_HZ
    column_s = teach.COLUMN_STEPS * scenes.STEP_SAMPLES / SAMPLE_RATE_HZ
    for row, (number, start, speed) in zip(label, scene_set.cry, strict=True):
        # Of a longer recording the scene holds an excerpt whose place is not known.
        if number < 0 or cries[int(number)].duration_s > scenes.SCENE_S:
            continue
        at_s = (centres_s - start / SAMPLE_RATE_HZ) * speed
        column = np.clip(at_s / column_s, 0, found.shape[1] - 1).astype(int)
        np.multiply(row, np.minimum(1.0, found[int(number)][column] / CONVINCING), out=row)
    return replace(scene_set, label=label)
