"""Train the gate: teacher on scenes, student from teacher, float and int8 ONNX.

``python -m models.training.gate --recipe models/recipes/gate.toml --out runs/gate`` does all of it.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.training import corpus, export, metrics, relabel, scenes, teach
from models.training.nets.gate import GateNet
from models.training.train import Indices, Schedule, fit
from monitor.detect.features import N_MELS, fingerprint, log_mel

SPLITS: tuple[corpus.Split, ...] = ("train", "val")
HINT_COLUMNS = scenes.STEPS // teach.COLUMN_STEPS
"""Whole columns in a scene; the teacher's last one hangs over the end."""


def features_of(scene_set: scenes.SceneSet) -> NDArray[np.float16]:
    """Log-mel of every scene by the runtime's own front end, float16 (n, 500, N_MELS)."""
    return np.stack([log_mel(audio).astype(np.float16) for audio in scene_set.audio])


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
    features: NDArray[np.float16],
    scene_set: scenes.SceneSet,
    lesson: teach.Lesson | None,
    *,
    trust: float,
    hint_weight: float,
    seed: int,
) -> Any:
    """Cross-entropy against a blend of true label and teacher's answer, plus its columns as hints.

    ``trust`` is the teacher's share of the target.
    """
    rng = np.random.default_rng(seed)

    def loss(net: nn.Module, batch: Indices) -> Tensor:
        frames = disturb(torch.from_numpy(features[batch].astype(np.float32)), rng)
        outputs = net(frames)
        target = np.array(scene_set.label[batch])
        weight = np.array(scene_set.weight[batch])
        if lesson is not None:
            target = (1.0 - trust) * target + trust * lesson.cry[batch]
        weights = torch.from_numpy(weight)
        each = functional.binary_cross_entropy_with_logits(
            outputs[:, 0], torch.from_numpy(target.astype(np.float32)), reduction="none"
        )
        value = (each * weights).sum() / weights.sum()
        if lesson is not None and hint_weight > 0.0:
            guesses = outputs[:, 1:, : HINT_COLUMNS * teach.COLUMN_STEPS]
            guesses = guesses.reshape(*guesses.shape[:2], HINT_COLUMNS, teach.COLUMN_STEPS).mean(dim=3)
            hints = torch.from_numpy(lesson.hints[batch, :HINT_COLUMNS].astype(np.float32)).transpose(1, 2)
            value = value + hint_weight * functional.smooth_l1_loss(guesses, hints)
        return value

    return loss


@torch.no_grad()
def logits_of(net: GateNet, features: NDArray[np.float16]) -> NDArray[np.float32]:
    """Cry logits of every step, (n, STEPS)."""
    parts = np.array_split(features, max(1, len(features) // 64))
    return np.concatenate([net(torch.from_numpy(p.astype(np.float32)))[:, 0].numpy() for p in parts])


def step_scores(logits: NDArray[np.float32], scene_set: scenes.SceneSet) -> dict[str, float]:
    """ROC AUC and AP over the steps whose label is beyond doubt."""
    sure = np.asarray(scene_set.weight) == 1.0
    labels, scores = np.asarray(scene_set.label)[sure] > 0.5, logits[sure]
    return {
        "auc": float(metrics.roc_auc(scores, labels)),
        "ap": float(metrics.average_precision(scores, labels)),
    }


def with_clean_labels(
    out: Path,
    root: Path,
    cache: Path,
    pretrained: Path,
    columns: dict[str, NDArray[np.float16]],
    sets: dict[str, scenes.SceneSet],
    recipe: dict[str, Any],
) -> scenes.SceneSet:
    """The training scenes with labels that heads of other babies believe."""
    cries = scenes.pool(root, "train", only_train_ok=True).cries

    def listen() -> NDArray[np.float32]:
        clean = teach.columns_of(pretrained, relabel.clean_audio(cries, corpus.AudioStore(root, cache)))
        return relabel.evidence(
            cries, clean, columns["train"], sets["train"], Schedule(**recipe["relabel"]), recipe["seed"]
        )

    return relabel.relabel(sets["train"], cries, kept(out / "evidence.npy", listen))


def prepare_lessons(
    out: Path, columns: dict[str, NDArray[np.float16]], train: scenes.SceneSet, recipe: dict[str, Any]
) -> dict[str, teach.Lesson]:
    """Train the teacher's head and let it answer; a run folder that has the answers keeps them."""
    paths = {split: out / f"lesson-{split}.npz" for split in columns}
    if not all(path.is_file() for path in paths.values()):
        head = teach.train_head(columns["train"], train, Schedule(**recipe["teacher"]), recipe["seed"])
        torch.save(head.state_dict(), out / "teacher_head.pt")
        axes = teach.principal_axes(columns["train"], recipe["student"]["hints"], recipe["seed"])
        for split, part in columns.items():
            lesson = teach.lesson(head, part, axes)
            np.savez(paths[split], cry=lesson.cry, hints=lesson.hints)
    lessons = {}
    for split, path in paths.items():
        with np.load(path) as stored:
            lessons[split] = teach.Lesson(stored["cry"], stored["hints"])
    return lessons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pretrained", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    recipe = tomllib.loads(options.recipe.read_text())
    options.out.mkdir(parents=True, exist_ok=True)
    root = corpus.data_root(options.data)
    numbers = recipe["scenes"]
    folders = {
        split: options.cache / f"scenes-{split}-{numbers[split]}-{numbers['seed']}" for split in SPLITS
    }
    sets = {
        split: scenes.build(
            folders[split],
            root,
            options.cache,
            split,
            n=numbers[split],
            seed=numbers["seed"] + k,
            only_train_ok=split == "train",
            jobs=options.jobs,
        )
        for k, split in enumerate(SPLITS)
    }
    torch.set_num_threads(options.jobs)
    pretrained = corpus.pretrained_root(options.pretrained)
    columns = {
        split: kept(
            folders[split] / "columns.npy", lambda part=part: teach.columns_of(pretrained, part.audio)
        )
        for split, part in sets.items()
    }
    features = {
        split: kept(
            folders[split] / f"features-{fingerprint()[:12]}.npy", lambda part=part: features_of(part)
        )
        for split, part in sets.items()
    }
    sets["train"] = with_clean_labels(options.out, root, options.cache, pretrained, columns, sets, recipe)
    lessons = prepare_lessons(options.out, columns, sets["train"], recipe)

    torch.manual_seed(recipe["seed"])
    shape = recipe["student"]
    net = GateNet(tuple(shape["channels"]), shape["width"], n_classes=1 + shape["hints"])
    # Few channels: this layout makes the convolutions two to four times as fast on a CPU.
    net = net.to(memory_format=torch.channels_last)
    loss = student_loss(
        features["train"], sets["train"], lessons["train"],
        trust=shape["trust"], hint_weight=shape["hint_weight"], seed=recipe["seed"],
    )  # fmt: skip
    student = fit(
        net,
        len(features["train"]),
        loss,
        Schedule(**recipe["schedule"]),
        seed=recipe["seed"],
        title="student",
    )
    assert isinstance(student, GateNet)
    torch.save({"state": student.state_dict(), "shape": shape}, options.out / "gate.pt")
    scores = {
        "teacher": step_scores(lessons["val"].cry, sets["val"]),
        "student": step_scores(logits_of(student, features["val"]), sets["val"]),
    }
    (options.out / "scores.json").write_text(json.dumps(scores, indent=2))
    print(json.dumps(scores, indent=2))
    export.export_gate(student, options.out / "gate.float.onnx")
    export.quantize_gate(
        options.out / "gate.float.onnx", options.out / "gate.int8.onnx", features["train"][:200]
    )


if __name__ == "__main__":
    main()
