"""Train the verifier: segments that the gate suspects, mn04 fine-tuned on them, float and int8 ONNX.

Usage: ``python -m models.training.verifier --recipe FILE --gate RUN --out DIR``.
"""

from __future__ import annotations

import copy
import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from models.training import corpus, export, metrics, quantize, scenes, teach
from models.training.gate import (
    Preparation,
    common_options,
    kept,
    load_gate,
    logits_of,
    preparation,
)
from models.training.nets import mn04
from models.training.nets.gate import GateNet
from models.training.nets.verifier import Verifier
from models.training.train import Indices, Loss, Schedule, fit
from monitor.detect.segment_mel import N_BANDS, N_FRAMES, SEGMENT_SAMPLES, segment_mel

SEGMENT_STEPS: Final = SEGMENT_SAMPLES // scenes.STEP_SAMPLES
CRY_STEPS: Final = 5
"""0.4 s of crying make a segment a cry; less is a matter of taste."""
SURE: Final = 0.9
"""Weight above which a label counts as beyond doubt."""
CHUNK: Final = 64


@dataclass(frozen=True)
class Segments:
    """Segments as the verifier takes them.

    ``maps`` float16 (n, 16, 16, 30) of the early blocks, ``embedding`` float16 (n, 384) of the untouched
    trunk, ``label`` and ``weight`` float32 (n,).
    """

    maps: NDArray[np.float16]
    embedding: NDArray[np.float16]
    label: NDArray[np.float32]
    weight: NDArray[np.float32]


def choose(suspicion: NDArray[np.float32], per_scene: int, seed: int) -> list[tuple[int, int]]:
    """Scene and first step of the segments to learn from: most of them where the gate is suspicious.

    ``suspicion``: the gate's probabilities, (n, STEPS).
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for scene, own in enumerate(suspicion):
        highest = np.lib.stride_tricks.sliding_window_view(own, SEGMENT_STEPS).max(axis=1)
        chances = 0.05 + highest**2
        starts = rng.choice(len(chances), per_scene, replace=False, p=chances / chances.sum())
        chosen += [(scene, int(start)) for start in starts]
    return chosen


def truth(
    label: NDArray[np.float32], weight: NDArray[np.float32], chosen: list[tuple[int, int]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Label and weight of the chosen segments from those of their steps, float32 (n,) each."""
    labels, weights = np.zeros((2, len(chosen)), np.float32)
    for k, (scene, start) in enumerate(chosen):
        cry = label[scene, start : start + SEGMENT_STEPS]
        sure = weight[scene, start : start + SEGMENT_STEPS]
        labels[k] = float(cry.any())
        weights[k] = sure[cry > 0.5].mean() if cry.any() else sure.mean()
        if 0 < cry.sum() < CRY_STEPS:
            weights[k] *= 0.2
    return labels, weights


@torch.no_grad()
def early_maps(
    net: Verifier, audio: NDArray[np.int16], chosen: list[tuple[int, int]], maps: Path, embedding: Path
) -> None:
    """Write what the frozen blocks, and the whole untouched trunk, make of the chosen segments."""
    shape = (len(chosen), 16, 16, 30)
    out = np.lib.format.open_memmap(maps.with_suffix(".part"), mode="w+", dtype=np.float16, shape=shape)
    means = np.zeros((len(chosen), mn04.EMBEDDING), np.float16)
    for first in track(range(0, len(chosen), CHUNK), "segments"):
        part = chosen[first : first + CHUNK]
        starts = [(scene, step * scenes.STEP_SAMPLES) for scene, step in part]
        mel = np.stack([segment_mel(np.array(audio[k, s : s + SEGMENT_SAMPLES])) for k, s in starts])
        early = net.early(torch.from_numpy(mel).unsqueeze(1).to(memory_format=torch.channels_last))
        out[first : first + len(part)] = early.numpy()
        means[first : first + len(part)] = net.columns(early).mean(dim=2).numpy()
    out.flush()
    np.save(embedding, means)
    maps.with_suffix(".part").rename(maps)


def segments_of(
    net: Verifier, folder: Path, gate: GateNet, features: NDArray[np.float16], per_scene: int, seed: int
) -> Segments:
    """The segments of one set of scenes; what takes long is kept in its folder."""
    scene_set = scenes.load(folder)
    suspicion = kept(
        folder / f"suspicion-{_name(gate)}.npy", lambda: 1.0 / (1.0 + np.exp(-logits_of(gate, features)))
    )
    chosen = choose(suspicion, per_scene, seed)
    key = f"{_name(gate)}-{per_scene}-{seed}"
    maps, embedding = folder / f"maps-{key}.npy", folder / f"embedding-{key}.npy"
    if not maps.is_file():
        early_maps(net, scene_set.audio, chosen, maps, embedding)
    label, weight = truth(scene_set.label, scene_set.weight, chosen)
    return Segments(np.load(maps, mmap_mode="r"), np.load(embedding), label, weight)


def _name(gate: nn.Module) -> str:
    """A few digits that stand for a net's weights."""
    total = sum(float(p.detach().double().abs().sum()) for p in gate.parameters())
    return f"{total:.4f}".replace(".", "")


def joined(parts: list[Segments]) -> Segments:
    """Several sets as one."""
    if len(parts) == 1:
        return parts[0]
    names = [each.name for each in fields(Segments)]
    return Segments(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def loss_of(segments: Segments, classifier: nn.Module, *, keep: float, smoothing: float = 0.02) -> Loss:
    """Cross-entropy, and ``keep`` times how far the trunk's AudioSet answers have moved.

    The recordings that may teach know few cats and no sheep; AudioSet did, and the trunk must not forget.
    """

    def loss(net: nn.Module, batch: Indices) -> Tensor:
        assert isinstance(net, Verifier)
        own = np.sort(batch)
        maps = torch.from_numpy(segments.maps[own].astype(np.float32))
        columns = net.columns(maps.to(memory_format=torch.channels_last))
        target = torch.from_numpy(segments.label[own]) * (1 - 2 * smoothing) + smoothing
        weights = torch.from_numpy(segments.weight[own])
        each = functional.binary_cross_entropy_with_logits(net.judge(columns), target, reduction="none")
        value = (each * weights).sum() / weights.sum()
        if keep > 0.0:
            with torch.no_grad():
                untouched = torch.from_numpy(segments.embedding[own].astype(np.float32))
                before = torch.sigmoid(classifier(untouched))
            now = classifier(columns.mean(dim=2))
            value = value + keep * functional.binary_cross_entropy_with_logits(now, before)
        return value

    return loss


@torch.no_grad()
def judged(net: Verifier, segments: Segments) -> NDArray[np.float32]:
    """Cry logits of segments, (n,)."""
    parts = [
        net.judge(net.columns(torch.from_numpy(segments.maps[k : k + 256].astype(np.float32)))).numpy()
        for k in range(0, len(segments.label), 256)
    ]
    return np.concatenate(parts)


def scores(net: Verifier, segments: Segments) -> dict[str, float]:
    """ROC AUC and AP over the segments whose label is beyond doubt."""
    sure = segments.weight > SURE
    logits, labels = judged(net, segments)[sure], segments.label[sure] > 0.5
    return {
        "auc": float(metrics.roc_auc(logits, labels)),
        "ap": float(metrics.average_precision(logits, labels)),
    }


def learn(recipe: dict[str, Any], train: Segments, trunk: mn04.MN04) -> Verifier:
    """The head on the untouched trunk first, then the trunk's later blocks with it."""
    seed = recipe["seed"]
    torch.manual_seed(seed)
    net: nn.Module = Verifier(trunk, **recipe["head"])
    classifier = copy.deepcopy(trunk.classifier).eval().requires_grad_(requires_grad=False)
    assert isinstance(net, Verifier)
    net.late.requires_grad_(requires_grad=False)
    net = fit(net, len(train.label), loss_of(train, classifier, keep=0.0),
              Schedule(**recipe["frozen"]), seed=seed, title="verifier's head")  # fmt: skip
    assert isinstance(net, Verifier)
    net.late.requires_grad_(requires_grad=True)
    net = fit(net, len(train.label), loss_of(train, classifier, keep=recipe["keep"]),
              Schedule(**recipe["tuned"]), seed=seed + 1, title="verifier's trunk")  # fmt: skip
    assert isinstance(net, Verifier)
    return net


def choose_temperature(logits: NDArray[np.float32], segments: Segments) -> float:
    """The temperature of least log-loss on held-out segments."""
    sign = np.where(segments.label > 0.5, 1.0, -1.0)
    return float(min(
        np.geomspace(0.3, 4.0, 60),
        key=lambda t: float((segments.weight * np.logaddexp(0.0, -sign * logits / t)).sum()),
    ))  # fmt: skip


def export_verifier(net: Verifier, path: Path) -> None:
    """Write the verifier as ONNX with input ``segment`` and outputs ``logit, embedding``."""
    names = {"input_names": ["segment"], "output_names": ["logit", "embedding"]}
    export.write_onnx(net.eval(), (torch.zeros(1, N_BANDS, N_FRAMES),), path, names)


def run(recipe: dict[str, Any], prepare: Preparation, gate_run: Path, out: Path) -> None:
    """From scenes and a trained gate to both ONNX forms in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    gate, trunk = load_gate(gate_run / "gate.pt"), teach.load_teacher(prepare.pretrained)
    untouched = Verifier(copy.deepcopy(trunk)).eval()

    def gather(split: corpus.Split, own: dict[str, int]) -> Segments:
        folder, features = prepare.folder(split, **own), prepare.features(split, **own)
        return segments_of(untouched, folder, gate, features, recipe["per_scene"], recipe["seed"])

    train = joined([gather("train", own) for own in recipe["scenes"]["train"]])
    val = gather("val", recipe["scenes"]["val"])
    net = learn(recipe, train, trunk)
    torch.save(net.state_dict(), out / "verifier.pt")
    export_verifier(net, out / "verifier.float.onnx")
    # InfantCryNet's own form. Static int8 costs this trunk's hard-swishes 0.5-1.6 points of AUC, and time
    # as well (python -m models.training.forms --subject verifier).
    quantize.dynamic_int8(out / "verifier.float.onnx", out / "verifier.int8.onnx", ("Gemm", "MatMul"))
    report = {"verifier": scores(net, val), "segments": {"train": len(train.label), "val": len(val.label)}}
    (out / "scores.json").write_text(json.dumps(report, indent=2))
    decision = {"temperature": choose_temperature(judged(net, val), val)}
    (out / "decision.json").write_text(json.dumps(decision, indent=2))
    print(json.dumps(report | decision, indent=2))


def main() -> None:
    parser = common_options(__doc__, "python -m models.training.verifier")
    parser.add_argument("--gate", type=Path, required=True, help="run folder of the gate that suspects")
    options = parser.parse_args()
    run(tomllib.loads(options.recipe.read_text()), preparation(options), options.gate, options.out)


if __name__ == "__main__":
    main()
