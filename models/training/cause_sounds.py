"""Babies' uploads as vectors: what frozen networks hear in each, and what their parents said of it.

The unverified uploads have parents' words too, but most of them are no cries; mn04's score tells.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.training import corpus, mixing, teach
from models.training.cause import LABELS, NO_CAUSE, SEGMENT, cut
from models.training.nets.cause import CauseNet
from monitor.detect.features import log_mel
from monitor.types import SAMPLE_RATE_HZ

WINDOW_S: Final = 3
"""The short window that a live embedding may be computed on, beside the whole segment of 6 s."""
QUIET_DBFS: Final = -80.0
"""Below it there is nothing to embed."""

_AS_CAUSE5: Final = {"cold_hot": "discomfort"} | {label: label for label in LABELS}
"""The uploads' own words for the five causes; lonely, scared and unknown have none."""


@dataclass(frozen=True)
class Sounds:
    """Uploads with all that a question may ask of them.

    ``cause`` int64 (n,): index into LABELS, or NO_CAUSE. ``vectors``: by name, float32 (n, width).
    ``columns``: float32 (n, 384, n_columns), mn04's own steps of 0.32 s.
    """

    clips: Sequence[corpus.Clip]
    cause: NDArray[np.int64]
    vectors: Mapping[str, NDArray[np.float32]]
    columns: NDArray[np.float32]

    @property
    def groups(self) -> NDArray[np.str_]:
        """The app installation of each, the nearest thing to a baby's name."""
        return np.array([clip.group for clip in self.clips])


def reported_causes(root: Path) -> dict[str, str]:
    """What the uploader said, as one of the five causes, by the clip's path; other words are left out."""
    with (root / corpus.MANIFEST_NAME).open(newline="", encoding="utf-8") as file:
        return {
            row["path"]: _AS_CAUSE5[row["cause"]]
            for row in csv.DictReader(file)
            if row["source"] == "donateacry" and row["cause"] in _AS_CAUSE5
        }


def listen(
    clips: Sequence[corpus.Clip],
    causes: Mapping[str, str],
    store: corpus.AudioStore,
    teacher: Path,
    student: CauseNet | None,
) -> Sounds:
    """Embed each clip's most active 6 s; clips as good as silent are left out.

    Vectors: mn04's columns pooled over the segment (``mean``, ``max``, ``statistic``: mean and deviation),
    their mean over windows of WINDOW_S (``mean_3s``), and the classifier's pooled vector (``cause_net``).
    """
    loud = [(clip, store.samples(clip)) for clip in clips]
    loud = [(clip, samples) for clip, samples in loud if mixing.level_dbfs(samples) >= QUIET_DBFS]
    audio = np.stack(
        [np.rint(mixing.clip_hard(cut(samples, None)) * 32767.0).astype(np.int16) for _, samples in loud]
    )
    columns = teach.columns_of(teacher, audio).astype(np.float32)
    short = teach.columns_of(teacher, audio.reshape(-1, WINDOW_S * SAMPLE_RATE_HZ))
    per_window = short.astype(np.float32).mean(axis=2)
    mean = columns.mean(axis=2)
    vectors = {
        "mean": mean,
        "max": columns.max(axis=2),
        "statistic": np.concatenate([mean, columns.std(axis=2)], axis=1),
        "mean_3s": per_window.reshape(len(audio), -1, per_window.shape[1]).mean(axis=1),
    }
    if student is not None:
        vectors["cause_net"] = _pooled(student, audio)
    named = [causes.get(clip.path) for clip, _ in loud]
    cause = np.array([NO_CAUSE if name is None else LABELS.index(name) for name in named])
    return Sounds([clip for clip, _ in loud], cause, vectors, columns)


@torch.no_grad()
def _pooled(student: CauseNet, audio: NDArray[np.int16]) -> NDArray[np.float32]:
    frames = np.stack([log_mel(segment) for segment in audio])
    parts = [student.pooled(torch.from_numpy(frames[k : k + 64])).numpy() for k in range(0, len(frames), 64)]
    return np.concatenate(parts)


def load_student(path: Path) -> CauseNet:
    """The cause classifier from a run's ``cause.pt``, in eval mode."""
    weights = torch.load(path, weights_only=True)
    net = CauseNet(hints=weights["hint.weight"].shape[0])
    net.load_state_dict(weights)
    return net.eval()


def fingerprint(name: str, weights: Path) -> str:
    """Names an embedding: which vector, of which weights."""
    return f"{name}-{hashlib.sha256(weights.read_bytes()).hexdigest()[:16]}"


assert SEGMENT % (WINDOW_S * SAMPLE_RATE_HZ) == 0
