"""Train the gate: teacher on scenes, student from teacher, float and int8 ONNX.

``python -m models.training.gate --recipe models/recipes/gate.toml --out runs/gate`` does all of it.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.training import corpus, export, metrics, scenes, teach
from models.training.nets.gate import GateNet
from models.training.train import Indices, Loss, Schedule, fit
from monitor.detect.features import N_MELS, fingerprint, log_mel

HINT_COLUMNS = scenes.STEPS // teach.COLUMN_STEPS
"""Whole columns in a scene; the teacher's last one hangs over the end."""


@dataclass(frozen=True)
class Material:
    """Scenes as nets take them.

    ``features`` float16 (n, 500, N_MELS), ``columns`` float16 (n, 384, n_columns) of the teacher,
    ``label`` and ``weight`` float32 (n, STEPS).
    """

    features: NDArray[np.float16]
    columns: NDArray[np.float16]
    label: NDArray[np.float32]
    weight: NDArray[np.float32]


def kept(path: Path, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """An array that takes long to make, from ``path`` if it is there."""
    if not path.is_file():
        unfinished = path.with_suffix(".part.npy")
        np.save(unfinished, make())
        unfinished.rename(path)
    return np.load(path, mmap_mode="r")


def disturb(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Hide a band of mels in half of a batch and shift its level: (batch, n, N_MELS) in place."""
    for k in np.flatnonzero(rng.random(len(frames)) < 0.5):
        width = int(rng.integers(2, 12))
        start = int(rng.integers(0, N_MELS - width))
        frames[k, :, start : start + width] = frames[k].min()
    return frames + torch.from_numpy(rng.normal(0.0, 0.15, (len(frames), 1, 1)).astype(np.float32))


def student_loss(
    material: Material, lesson: teach.Lesson, *, trust: float, hint_weight: float, seed: int
) -> Loss:
    """Cross-entropy against a blend of true label and teacher's answer, plus its columns as hints.

    ``trust`` is the teacher's share of the target.
    """
    rng = np.random.default_rng(seed)

    def loss(net: nn.Module, batch: Indices) -> Tensor:
        outputs = net(disturb(torch.from_numpy(material.features[batch].astype(np.float32)), rng))
        target = (1.0 - trust) * material.label[batch] + trust * lesson.cry[batch]
        weights = torch.from_numpy(material.weight[batch])
        each = functional.binary_cross_entropy_with_logits(
            outputs[:, 0], torch.from_numpy(target.astype(np.float32)), reduction="none"
        )
        guesses = outputs[:, 1:, : HINT_COLUMNS * teach.COLUMN_STEPS]
        guesses = guesses.reshape(*guesses.shape[:2], HINT_COLUMNS, teach.COLUMN_STEPS).mean(dim=3)
        hints = torch.from_numpy(lesson.hints[batch, :HINT_COLUMNS].astype(np.float32)).transpose(1, 2)
        return (each * weights).sum() / weights.sum() + hint_weight * functional.smooth_l1_loss(
            guesses, hints
        )

    return loss


def load_gate(path: Path) -> GateNet:
    """A trained gate, in eval mode, from what :func:`train` saved."""
    saved = torch.load(path, weights_only=True)
    shape = saved["shape"]
    net = GateNet(tuple(shape["channels"]), shape["width"], n_classes=1 + shape["hints"])
    net.load_state_dict(saved["state"])
    return net.eval()


@torch.no_grad()
def logits_of(net: GateNet, features: NDArray[np.float16]) -> NDArray[np.float32]:
    """Cry logits of every step, (n, STEPS)."""
    parts = np.array_split(features, max(1, len(features) // 64))
    return np.concatenate([net(torch.from_numpy(p.astype(np.float32)))[:, 0].numpy() for p in parts])


def step_scores(logits: NDArray[np.float32], material: Material) -> dict[str, float]:
    """ROC AUC and AP over the steps whose label is beyond doubt."""
    sure = material.weight == 1.0
    labels, scores = material.label[sure] > 0.5, logits[sure]
    return {
        "auc": float(metrics.roc_auc(scores, labels)),
        "ap": float(metrics.average_precision(scores, labels)),
    }


class Preparation:
    """Makes sets of scenes and what the nets need of them; all of it is kept in ``cache``."""

    def __init__(self, data: Path, pretrained: Path, cache: Path, jobs: int) -> None:
        self.data = data
        self.pretrained = pretrained
        self.cache = cache
        self.jobs = jobs

    def folder(self, split: corpus.Split, *, n: int, seed: int, every_clip: bool = False) -> Path:
        """Where scenes of one split are, made if need be.

        Those of train keep to licences that allow a release, unless ``every_clip`` asks what that costs.
        """
        folder = self.cache / f"scenes-{split}-{n}-{seed}{'-every' if every_clip else ''}"
        scenes.build(
            folder,
            self.data,
            self.cache,
            split,
            n=n,
            seed=seed,
            only_train_ok=split == "train" and not every_clip,
            jobs=self.jobs,
        )
        return folder

    def features(
        self, split: corpus.Split, *, n: int, seed: int, every_clip: bool = False
    ) -> NDArray[np.float16]:
        """Log-mel of the scenes, (n, 500, N_MELS)."""
        folder = self.folder(split, n=n, seed=seed, every_clip=every_clip)
        return kept(
            folder / f"features-{fingerprint()[:12]}.npy",
            lambda: np.stack([log_mel(audio).astype(np.float16) for audio in scenes.load(folder).audio]),
        )

    def material(self, split: corpus.Split, *, n: int, seed: int, every_clip: bool = False) -> Material:
        """What the gate's training takes of the scenes of one split."""
        folder = self.folder(split, n=n, seed=seed, every_clip=every_clip)
        scene_set = scenes.load(folder)
        return Material(
            features=self.features(split, n=n, seed=seed, every_clip=every_clip),
            columns=kept(folder / "columns.npy", lambda: teach.columns_of(self.pretrained, scene_set.audio)),
            label=np.array(scene_set.label),
            weight=np.array(scene_set.weight),
        )


def lessons_of(
    recipe: Mapping[str, Any], material: Mapping[str, Material], out: Path
) -> dict[str, teach.Lesson]:
    """Train the teacher's head, kept in ``out``, and let it speak about all scenes."""
    own, seed = material["train"], recipe["seed"]
    head = teach.train_head(own.columns, own.label, own.weight, Schedule(**recipe["teacher"]), seed)
    torch.save(head.state_dict(), out / "teacher_head.pt")
    axes = teach.principal_axes(own.columns, recipe["student"]["hints"], seed)
    return {split: teach.lesson(head, part.columns, axes) for split, part in material.items()}


def train(
    recipe: Mapping[str, Any],
    material: Mapping[str, Material],
    lessons: Mapping[str, teach.Lesson],
    out: Path,
) -> None:
    """Student, scores and both ONNX forms into ``out``."""
    seed, shape = recipe["seed"], recipe["student"]
    own = material["train"]
    torch.manual_seed(seed)
    net = GateNet(tuple(shape["channels"]), shape["width"], n_classes=1 + shape["hints"])
    # Few channels: this layout makes the convolutions two to four times as fast on a CPU.
    net = net.to(memory_format=torch.channels_last)
    loss = student_loss(
        own, lessons["train"], trust=shape["trust"], hint_weight=shape["hint_weight"], seed=seed
    )
    student = fit(net, len(own.label), loss, Schedule(**recipe["schedule"]), seed=seed, title="student")
    assert isinstance(student, GateNet)
    torch.save({"state": student.state_dict(), "shape": shape}, out / "gate.pt")
    scores = {
        "teacher": step_scores(lessons["val"].cry, material["val"]),
        "student": step_scores(logits_of(student, material["val"].features), material["val"]),
    }
    (out / "scores.json").write_text(json.dumps(scores, indent=2))
    print(json.dumps(scores, indent=2))
    export.export_gate(student, out / "gate.float.onnx")
    export.quantize_gate(
        out / "gate.float.onnx", out / "gate.int8.onnx", own.features[:: max(1, len(own.label) // 200)]
    )


def run(recipe: dict[str, Any], prepare: Preparation, out: Path) -> None:
    """From clips to both ONNX forms in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    splits: tuple[corpus.Split, ...] = ("train", "val")
    material = {split: prepare.material(split, **recipe["scenes"][split]) for split in splits}
    train(recipe, material, lessons_of(recipe, material, out), out)


def common_options(description: str | None, prog: str) -> argparse.ArgumentParser:
    """What every training command takes."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="audio data (default: $CRADLEWATCH_DATA)")
    parser.add_argument("--pretrained", type=Path, help="weights (default: $CRADLEWATCH_PRETRAINED)")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    return parser


def preparation(options: argparse.Namespace) -> Preparation:
    """The preparation that :func:`common_options` ask for."""
    torch.set_num_threads(options.jobs)
    data, pretrained = corpus.data_root(options.data), corpus.pretrained_root(options.pretrained)
    return Preparation(data, pretrained, options.cache, options.jobs)


def main() -> None:
    options = common_options(__doc__, "python -m models.training.gate").parse_args()
    run(tomllib.loads(options.recipe.read_text()), preparation(options), options.out)


if __name__ == "__main__":
    main()
