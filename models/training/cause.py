"""Train the cause classifier and find out what it is worth.

``python -m models.training.cause --recipe models/recipes/cause.toml --out runs/cause``: the trunk
learns from mn04's embeddings on everything that babies' phones recorded, then causes from the verified
cries. Temperature and abstention come from the validation split.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.training import corpus, export, metrics, mixing, teach
from models.training.gate import Preparation, common_options, preparation
from models.training.nets.cause import CauseNet
from models.training.train import Indices, Loss, Schedule, fit
from monitor.detect.classifier import SEGMENT_FRAMES
from monitor.detect.features import FRAME_HOP, log_mel
from monitor.types import Cause

LABELS = [cause.value for cause in Cause if cause is not Cause.UNSURE]
SEGMENT = SEGMENT_FRAMES * FRAME_HOP
NO_CAUSE = -1


@dataclass(frozen=True)
class Segments:
    """``features`` float16 (n, SEGMENT_FRAMES, N_MELS), ``cause`` int64 (n,) with NO_CAUSE, ``embedding``."""

    features: NDArray[np.float16]
    cause: NDArray[np.int64]
    embedding: NDArray[np.float32]
    groups: Sequence[str]


def cut(samples: NDArray[np.float32], rng: np.random.Generator | None) -> NDArray[np.float32]:
    """One segment of SEGMENT samples: at random with ``rng``, else the most active; short clips repeat."""
    if len(samples) <= SEGMENT:
        return np.resize(samples, SEGMENT).astype(np.float32)
    if rng is not None:
        start = int(rng.integers(len(samples) - SEGMENT))
    else:
        energy = np.convolve(mixing.active_mask(samples), np.ones(SEGMENT_FRAMES), "valid")
        start = min(int(energy.argmax()) * FRAME_HOP, len(samples) - SEGMENT)
    return samples[start : start + SEGMENT]


def _varied(
    samples: NDArray[np.float32], rirs: list[NDArray[np.float32]], rng: np.random.Generator
) -> NDArray[np.float32]:
    """The same cry in another room, at another level, through another microphone, over some noise."""
    segment = cut(mixing.change_speed(samples, round(rng.uniform(0.94, 1.06) * 50) / 50), rng)
    if rng.random() < 0.5:
        segment = mixing.convolve_rir(segment, rirs[int(rng.integers(len(rirs)))])
    if rng.random() < 0.5:
        segment = mixing.band_limit(segment, 100.0 * int(rng.integers(34, 60)))
    segment = mixing.at_level(segment, float(rng.uniform(-45.0, -12.0)))
    noise = rng.standard_normal(SEGMENT).astype(np.float32)
    return segment + mixing.at_level(noise, float(rng.uniform(-85.0, -50.0)))


def segments_of(
    clips: Sequence[corpus.Clip],
    store: corpus.AudioStore,
    teacher_folder: Path,
    *,
    copies: int,
    rirs: list[NDArray[np.float32]],
    seed: int,
) -> Segments:
    """``copies`` varied segments a clip, or with 0 the plain one, and what mn04 makes of each."""
    audio, cause, groups = [], [], []
    for k, clip in enumerate(clips):
        samples = store.samples(clip)
        if mixing.level_dbfs(samples) < -80.0:
            continue
        for copy in range(max(1, copies)):
            rng = np.random.default_rng([seed, k, copy])
            segment = _varied(samples, rirs, rng) if copies else cut(samples, None)
            audio.append(np.rint(mixing.clip_hard(segment) * 32767.0).astype(np.int16))
            cause.append(NO_CAUSE if clip.cause5 is None else LABELS.index(clip.cause5))
            groups.append(clip.group)
    columns = teach.columns_of(teacher_folder, np.stack(audio))
    return Segments(
        features=np.stack([log_mel(a).astype(np.float16) for a in audio]),
        cause=np.array(cause),
        embedding=columns.astype(np.float32).mean(axis=2),
        groups=groups,
    )


def loss_of(
    segments: Segments, priors: NDArray[np.float64], axes: NDArray[np.float32], *, cause_weight: float
) -> Loss:
    """Logit-adjusted cross-entropy on the causes (Menon et al. 2007.07314) beside the embedding as a hint."""
    log_priors = torch.from_numpy(np.log(priors).astype(np.float32))
    hints = torch.from_numpy(segments.embedding @ axes[:-1] + axes[-1])

    def loss(net: nn.Module, batch: Indices) -> Tensor:
        pooled = net.pooled(torch.from_numpy(segments.features[batch].astype(np.float32)))
        value = functional.smooth_l1_loss(net.hint(pooled), hints[batch])
        cause = torch.from_numpy(segments.cause[batch])
        known = cause != NO_CAUSE
        if cause_weight > 0.0 and bool(known.any()):
            logits = net.head(net.dropout(pooled[known])) + log_priors
            value = value + cause_weight * functional.cross_entropy(logits, cause[known])
        return value

    return loss


@torch.no_grad()
def logits_of(net: CauseNet, features: NDArray[np.float16]) -> NDArray[np.float64]:
    """Cause logits, (n, n_causes)."""
    return net(torch.from_numpy(features.astype(np.float32))).numpy().astype(np.float64)


def posterior(
    logits: NDArray[np.float64], temperature: float, priors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """As the runtime computes it: evidence over temperature plus base rates, normalised."""
    z = logits / temperature + np.log(priors)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def log_loss(p: NDArray[np.float64], cause: NDArray[np.int64]) -> float:
    return float(-np.log(p[np.arange(len(cause)), cause]).mean())


def choose_temperature(
    logits: NDArray[np.float64], cause: NDArray[np.int64], priors: NDArray[np.float64]
) -> float:
    """The temperature of least log-loss on held-out cries; the largest leaves the base rates alone."""
    grid = np.geomspace(0.5, 1000.0, 60)
    return float(min(grid, key=lambda t: log_loss(posterior(logits, t, priors), cause)))


def choose_answers(
    p: NDArray[np.float64], cause: NDArray[np.int64], priors: NDArray[np.float64]
) -> tuple[float, float]:
    """When to answer: the widest rule under which held-out answers beat the base rate beyond chance.

    Returns the least ratio to the base rate and the least probability. If no rule's answers have a
    Wilson lower bound above the base rate of what they answer, nothing is ever answered.
    """
    top = p.argmax(axis=1)
    best, widest = (float("inf"), 1.0), 0
    for ratio in (1.1, 1.25, 1.5, 2.0, 3.0):
        for least in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
            answered = (p.max(axis=1) >= least) & (p.max(axis=1) >= ratio * priors[top])
            n = int(answered.sum())
            right = int((top[answered] == cause[answered]).sum())
            if n > widest and metrics.wilson(right, n).low > float(priors[top[answered]].mean()):
                best, widest = (ratio, least), n
    return best


def balanced_accuracy(p: NDArray[np.float64], cause: NDArray[np.int64]) -> float:
    """Mean recall over the causes that occur."""
    guess = p.argmax(axis=1)
    return float(np.mean([(guess[cause == c] == c).mean() for c in np.unique(cause)]))


def report(
    p: NDArray[np.float64],
    cause: NDArray[np.int64],
    priors: NDArray[np.float64],
    evidence: NDArray[np.float64],
) -> dict[str, object]:
    """What the card says about one split."""
    base = np.tile(priors, (len(cause), 1))
    return {
        "n": len(cause),
        "per_cause": {LABELS[c]: int((cause == c).sum()) for c in range(len(LABELS))},
        "balanced_accuracy_of_evidence": balanced_accuracy(evidence, cause),
        "chance": 1.0 / len(np.unique(cause)),
        "log_loss": log_loss(p, cause),
        "log_loss_of_base_rates": log_loss(base, cause),
    }


def run(recipe: dict[str, Any], prepare: Preparation, out: Path) -> None:
    """From clips to both ONNX forms in ``out``. ``limit`` in the recipe takes so many clips a split."""
    out.mkdir(parents=True, exist_ok=True)
    clips = [c for c in corpus.load_manifest(prepare.data) if c.source == "donateacry" or c.label == "cry"]
    store, seed = corpus.AudioStore(prepare.data, prepare.cache), recipe["seed"]

    def gather(split: corpus.Split, *, causes_only: bool, copies: int) -> Segments:
        own = [c for c in clips if c.split == split and (c.train_ok or split != "train")]
        chosen = [c for c in own if c.cause5 is not None or not causes_only][: recipe.get("limit")]
        rirs = corpus.load_rirs(prepare.data, split)
        return segments_of(chosen, store, prepare.pretrained, copies=copies, rirs=rirs, seed=seed)

    train = gather("train", causes_only=False, copies=recipe["copies"])
    held_out = {split: gather(split, causes_only=True, copies=0) for split in ("val", "test")}
    counts = np.bincount(train.cause[train.cause != NO_CAUSE], minlength=len(LABELS)).astype(np.float64)
    priors = (counts + recipe["copies"]) / (counts + recipe["copies"]).sum()
    axes = teach.principal_axes(train.embedding[:, :, None].astype(np.float16), recipe["hints"], seed)

    torch.manual_seed(seed)
    net: nn.Module = CauseNet(hints=recipe["hints"])
    net = fit(net, len(train.cause), loss_of(train, priors, axes, cause_weight=0.0),
              Schedule(**recipe["embedding"]), seed=seed, title="trunk")  # fmt: skip
    net = fit(net, len(train.cause), loss_of(train, priors, axes, cause_weight=recipe["cause_weight"]),
              Schedule(**recipe["cause"]), seed=seed, title="cause")  # fmt: skip
    assert isinstance(net, CauseNet)

    val = held_out["val"]
    logits = logits_of(net, val.features)
    temperature = choose_temperature(logits, val.cause, priors)
    ratio, least = choose_answers(posterior(logits, temperature, priors), val.cause, priors)
    decision = {
        "temperature": temperature,
        "answer_above": min(ratio, 1e6),
        "answer_probability": least,
        "priors": dict(zip(LABELS, priors.tolist(), strict=True)),
    }
    scores = {}
    for split, part in held_out.items():
        evidence = logits_of(net, part.features)
        scores[split] = report(posterior(evidence, temperature, priors), part.cause, priors, evidence)
    torch.save(net.state_dict(), out / "cause.pt")
    (out / "decision.json").write_text(json.dumps(decision, indent=2))
    (out / "scores.json").write_text(json.dumps(scores, indent=2))
    print(json.dumps({"decision": decision, "scores": scores}, indent=2))
    export.export_cause(net, out / "cause.float.onnx")
    export.quantize_cause(out / "cause.float.onnx", out / "cause.int8.onnx", train.features[:300])


def main() -> None:
    options = common_options(__doc__, "python -m models.training.cause").parse_args()
    run(tomllib.loads(options.recipe.read_text()), preparation(options), options.out)


if __name__ == "__main__":
    main()
