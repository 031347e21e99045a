"""What the pooling study learns from: segments of scenes, verified cries, and what trunks hear in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from models.training import corpus, mixing, scenes, teach
from models.training.cause import LABELS, cut
from models.training.gate import kept
from models.training.nets import mn04, yamnet_trunk
from models.training.nets.pooled import FIRST_TUNED_BLOCK, body_of

SEGMENT_STEPS: Final = 32
"""2.56 s: eight columns of either trunk."""

Trunk = Literal["mn04 frozen", "YAMNet frozen", "mn04 fine-tuned"]
WIDTHS: Final[Mapping[Trunk, int]] = {
    "mn04 frozen": mn04.EMBEDDING,
    "YAMNet frozen": yamnet_trunk.EMBEDDING,
    "mn04 fine-tuned": mn04.EMBEDDING,
}
Heard = Mapping[Trunk, NDArray[np.float16]]
"""Columns (n, width, time) of the frozen trunks, and the maps that the fine-tuned one begins with."""

LEAST_CRYING: Final = 0.25
"""Share of a segment from which it counts as crying when heads are measured; those between are left out."""
LEAST_WEIGHT: Final = 0.7
"""Segments of less weight are doubtful (edges, cries that the AudioSet model does not hear)."""


@dataclass(frozen=True)
class SceneSegments:
    """Segments cut from scenes.

    ``audio`` int16 (n, samples); ``share`` of crying by weight and mean ``weight``, float32 (n,);
    ``scene`` int64 (n,), the scene each was cut from.
    """

    audio: NDArray[np.int16]
    share: NDArray[np.float32]
    weight: NDArray[np.float32]
    scene: NDArray[np.int64]

    @property
    def clear(self) -> NDArray[np.bool_]:
        """Where crying and not crying are beyond doubt."""
        return (self.weight > LEAST_WEIGHT) & self.one_sided

    @property
    def one_sided(self) -> NDArray[np.bool_]:
        """No crying at all, or at least LEAST_CRYING of it."""
        return (self.share == 0.0) | (self.share >= LEAST_CRYING)


def cut_scenes(scene_set: scenes.SceneSet, *, used: int, segments: int) -> SceneSegments:
    """``segments`` disjoint segments, evenly over each of the first ``used`` scenes."""
    if segments * SEGMENT_STEPS > scenes.STEPS:
        raise ValueError(f"{segments} segments of {SEGMENT_STEPS} steps overlap in {scenes.STEPS} steps")
    starts = np.linspace(0, scenes.STEPS - SEGMENT_STEPS, segments).astype(int)

    def cut_all(steps: NDArray[Any], step: int) -> NDArray[Any]:
        parts = [steps[:used, s * step : (s + SEGMENT_STEPS) * step] for s in starts]
        return np.stack(parts, axis=1).reshape(used * segments, SEGMENT_STEPS * step)

    label, weight = cut_all(scene_set.label, 1), cut_all(scene_set.weight, 1)
    return SceneSegments(
        audio=cut_all(scene_set.audio, scenes.STEP_SAMPLES),
        share=(label * weight).sum(axis=1) / weight.sum(axis=1),
        weight=weight.mean(axis=1),
        scene=np.repeat(np.arange(used), segments),
    )


@dataclass(frozen=True)
class Cries:
    """``audio`` int16 (n, samples); ``cause`` int64 (n,) into LABELS; ``groups`` (n,), the phone of each."""

    audio: NDArray[np.int16]
    cause: NDArray[np.int64]
    groups: NDArray[np.str_]


def verified_cries(root: Path, store: corpus.AudioStore) -> Cries:
    """All splits together: they serve for cross-validation only, no weights of theirs ship."""
    clips: Sequence[corpus.Clip] = [
        c for c in corpus.load_manifest(root) if c.label == "cry" and c.verified and c.cause5 in LABELS
    ]
    audio = [np.rint(mixing.clip_hard(cut(store.samples(c), None)) * 32767.0) for c in clips]
    return Cries(
        np.stack(audio).astype(np.int16),
        np.array([LABELS.index(str(c.cause5)) for c in clips]),
        np.array([c.group for c in clips]),
    )


class Ears:
    """Both trunks; what they hear is kept under ``folder``."""

    def __init__(self, pretrained: Path, folder: Path) -> None:
        self.mn04 = teach.load_teacher(pretrained)
        self._mel = mn04.MelFrontEnd()
        self._yamnet = yamnet_trunk.load(pretrained / yamnet_trunk.WEIGHTS_FILE)
        self._yamnet_mel = yamnet_trunk.YamnetFrontEnd()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def hear(self, name: str, audio: NDArray[np.int16]) -> dict[Trunk, NDArray[np.float16]]:
        """What both trunks make of segments, each heard alone; ``name`` says in the cache what they are."""
        body, tail = body_of(self.mn04), self.mn04.features[FIRST_TUNED_BLOCK:]

        def maps(waves: Tensor) -> Tensor:
            return body(self._mel(teach.at_teacher_rate(waves)))

        def columns(waves: Tensor) -> Tensor:
            # Whole hops: mn04's frames are centred, YAMNet's are not, and columns should lie side by side.
            padded = functional.pad(waves, (0, yamnet_trunk.WINDOW - yamnet_trunk.HOP))
            return self._yamnet.columns(self._yamnet_mel(padded))

        def keep(what: str, net: Callable[[Tensor], Tensor], batches: Batches) -> NDArray[np.float16]:
            path = self._folder / f"{name}-{what}.npy"
            return kept(path, lambda: _in_batches(net, batches, f"{what} listens to {name}"))

        of_mn04 = keep("mn04-maps", maps, _waves(audio))
        return {
            "mn04 frozen": keep("mn04", lambda m: tail(m).mean(dim=2), _floats(of_mn04)),
            "YAMNet frozen": keep("yamnet", columns, _waves(audio)),
            "mn04 fine-tuned": of_mn04,
        }


Batches = tuple[int, Callable[[slice], Tensor]]


def _waves(audio: NDArray[np.int16]) -> Batches:
    return len(audio), lambda part: torch.from_numpy(audio[part].astype(np.float32) / 32768.0)


def _floats(values: NDArray[np.float16]) -> Batches:
    return len(values), lambda part: torch.from_numpy(values[part].astype(np.float32))


@torch.no_grad()
def _in_batches(
    net: Callable[[Tensor], Tensor], batches: Batches, title: str, size: int = 32
) -> NDArray[np.float16]:
    n, batch = batches
    parts = [
        net(batch(slice(k, k + size))).numpy().astype(np.float16) for k in track(range(0, n, size), title)
    ]
    return np.concatenate(parts)
