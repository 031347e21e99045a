"""The paper's ablation: which pooling on which trunk, for detection and for cause.

``python -m models.training.pooling_study --out runs/pooling``. Every cell of the tables has the same
segments, folds and seeds; only the head's pooling or the trunk changes.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from models.training import corpus, pooling_report, scenes
from models.training.cause import LABELS
from models.training.nets.mn04 import MN04
from models.training.nets.pooled import PooledHead, TunedTail
from models.training.nets.pooling import POOLINGS, PoolingName
from models.training.pooling_inputs import (
    WIDTHS,
    Cries,
    Ears,
    Heard,
    SceneSegments,
    Trunk,
    cut_scenes,
    verified_cries,
)
from models.training.pooling_scores import CauseScores, Cell, DetectionScores
from models.training.pooling_tasks import Numbers, Rows, Task, cause_task, detection_task, floats
from models.training.train import Schedule, fit

RECIPE: Final = Path(__file__).resolve().parents[1] / "recipes" / "pooling.toml"
TUNED: Final = "mn04 fine-tuned"
WIDER: Final = 3
CONTROL: Final = f"mean, hidden x{WIDER}"
"""Mean pooling with as many weights as statistic + attention: a gain may be one of size alone."""


@dataclass(frozen=True)
class Learned:
    """Evidence (seeds, n, n_outputs) on held-out rows, nan elsewhere, and the last net that gave it."""

    evidence: Numbers
    net: nn.Module


class Study:
    """Fits heads; a fine-tuned trunk begins with the head that its frozen self has learned."""

    def __init__(self, recipe: dict[str, Any], mn04: MN04) -> None:
        self._recipe = recipe
        self._mn04 = mn04
        self._frozen: dict[tuple[str, str, int, int], PooledHead] = {}

    def heads_of(self, task: Task) -> Iterator[tuple[Trunk, str]]:
        """The cells of one task's table."""
        for trunk in get_args(Trunk):
            for pooling in POOLINGS:
                if trunk != TUNED or pooling in self._recipe[task.name]["tuned_poolings"]:
                    yield trunk, pooling
            if trunk != TUNED:
                yield trunk, CONTROL

    def learn(self, task: Task, trunk: Trunk, head: str) -> Learned:
        plan = self._recipe[task.name]
        seeds = plan["tuned_seeds"] if trunk == TUNED else self._recipe["seeds"]
        schedule = Schedule(**plan["tuned" if trunk == TUNED else "frozen"])
        evidence = np.full((len(seeds), len(task.heard[trunk]), task.n_outputs), np.nan)
        net: nn.Module = nn.Identity()
        for k, seed in enumerate(seeds):
            for fold, (rows, held_out) in enumerate(task.splits(seed)):
                net = fit(
                    self._fresh(task, trunk, head, seed, fold),
                    len(rows),
                    task.loss_on(trunk, rows),
                    schedule,
                    seed=seed,
                    title=f"{task.name}, {trunk}, {head}, seed {seed}, fold {fold}",
                )
                if isinstance(net, PooledHead) and trunk == "mn04 frozen":
                    self._frozen[task.name, head, seed, fold] = net
                evidence[k, held_out] = _answers(net, task.heard[trunk], held_out)
        return Learned(evidence, net)

    def _fresh(self, task: Task, trunk: Trunk, head: str, seed: int, fold: int) -> nn.Module:
        if trunk == TUNED:
            tuned = TunedTail(self._mn04, self._frozen[task.name, head, seed, fold])
            # Few channels: this layout makes the convolutions half as slow on a CPU.
            return tuned.to(memory_format=torch.channels_last)
        torch.manual_seed(seed)
        pooling: PoolingName = "mean" if head == CONTROL else POOLINGS[POOLINGS.index(head)]
        return PooledHead(
            WIDTHS[trunk],
            pooling,
            task.n_outputs,
            hidden=self._recipe["hidden"] * (WIDER if head == CONTROL else 1),
            heads=self._recipe["heads"],
            dropout=self._recipe["dropout"],
        )


@torch.no_grad()
def _answers(net: nn.Module, heard: NDArray[np.float16], rows: Rows) -> Numbers:
    parts = np.array_split(rows, max(1, len(rows) // 128))
    return np.concatenate([net(floats(heard[part])).numpy().astype(np.float64) for part in parts])


def _size(net: nn.Module | None) -> int:
    return 0 if net is None else sum(p.numel() for p in net.parameters())


def cells_of(study: Study, task: Task, score: Callable[[Numbers], Numbers],
             scores: DetectionScores | CauseScores) -> list[Cell]:  # fmt: skip
    """Every cell of one task; ``score`` picks from the evidence what ``scores`` measures."""
    known: dict[tuple[str, str], Numbers] = {}
    cells = []
    for trunk, head in study.heads_of(task):
        learned = study.learn(task, trunk, head)
        own = known[trunk, head] = score(learned.evidence)
        cell = Cell(
            task.name,
            trunk,
            head,
            head_parameters=_size(getattr(learned.net, "head", learned.net)),
            trunk_parameters=_size(getattr(learned.net, "tail", None)),
            n_seeds=len(own),
            figures=scores.figures(own),
            further=scores.further(own),
        )
        if head != "mean":
            cell = replace(cell, over_mean=scores.gain(own, known[trunk, "mean"]))
        if trunk != "mn04 frozen":
            cell = replace(cell, over_frozen=scores.gain(own, known["mn04 frozen", head]))
        cells.append(cell)
    return cells


def cause_scores(task: Task, cries: Cries, recipe: dict[str, Any]) -> CauseScores:
    """The folds and base rates of every seed, as the heads met them."""
    n, seeds = len(cries.cause), recipe["seeds"]
    folds, rates = np.zeros((len(seeds), n), np.int64), np.zeros((len(seeds), n, len(LABELS)))
    for k, seed in enumerate(seeds):
        for fold, (rows, held_out) in enumerate(task.splits(seed)):
            folds[k, held_out], rates[k, held_out] = fold, task.log_rates(rows)
    return CauseScores(cries, folds, rates, recipe["bootstrap_draws"])


def gather(
    recipe: dict[str, Any], root: Path, cache: Path, jobs: int
) -> tuple[dict[str, SceneSegments], Cries]:
    """Segments of both splits' scenes, and the cries."""
    segments = {}
    splits: tuple[corpus.Split, ...] = ("train", "val")
    for split in splits:
        plan = recipe["scenes"][split]
        scene_set = scenes.build(
            cache / f"scenes-{split}-{plan['n']}-{plan['seed']}",
            root,
            cache,
            split,
            n=plan["n"],
            seed=plan["seed"],
            only_train_ok=split == "train",
            jobs=jobs,
        )
        segments[split] = cut_scenes(scene_set, used=plan["used"], segments=plan["segments"])
    return segments, verified_cries(root, corpus.AudioStore(root, cache))


def notes_of(segments: dict[str, SceneSegments], cries: Cries, recipe: dict[str, Any]) -> list[str]:
    """How the tables are to be read."""
    val, n_folds = segments["val"], recipe["folds"]
    used = {split: plan["used"] for split, plan in recipe["scenes"].items()}
    crying = (val.share[val.clear] > 0.0).sum()
    per_cause = ", ".join(
        f"{name} {(cries.cause == k).sum()} of {len(set(cries.groups[cries.cause == k]))} phones"
        for k, name in enumerate(LABELS)
    )
    detection = f"""detection: {len(segments["train"].share)} segments of 2.56 s from {used["train"]} scenes
        of train; measured on {val.clear.sum()} clear ones ({crying} with crying) of {len(val.share)} from
        {used["val"]} scenes of val; intervals over scenes, which share clips: somewhat too narrow"""
    doubt = """scenes leave doubtful cries out by mn04's score, which may flatter mn04; the JSON has AP with
        the doubtful ones"""
    cause = f"""cause: {len(cries.cause)} verified cries ({per_cause}); {n_folds} folds by phone, other
        ones for each seed; chance 0.2; log-loss under a temperature from the other folds; intervals over
        phones"""
    reading = """± is the standard deviation over seeds, brackets are 95 % intervals of the mean over seeds;
        gains are paired: same segments, same draws, same seeds"""
    return [" ".join(note.split()) for note in (detection, doubt, cause, reading)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.training.pooling_study", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--data", type=Path, help="audio data (default: $CRADLEWATCH_DATA)")
    parser.add_argument("--pretrained", type=Path, help="weights (default: $CRADLEWATCH_PRETRAINED)")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    begun = time.perf_counter()
    recipe = tomllib.loads(options.recipe.read_text())
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.jobs)
    # Tables in a log are not to be folded to 80 columns.
    console = Console() if Console().is_terminal else Console(width=150)

    root, pretrained = corpus.data_root(options.data), corpus.pretrained_root(options.pretrained)
    segments, cries = gather(recipe, root, options.cache, options.jobs)
    notes = notes_of(segments, cries, recipe)
    console.print(*notes, sep="\n")
    ears = Ears(pretrained, options.out / "heard")
    scenes_heard = [
        ears.hear("{}-{n}-{seed}-{used}-{segments}".format(split, **recipe["scenes"][split]), own.audio)
        for split, own in segments.items()
    ]
    heard: Heard = {t: np.concatenate([part[t] for part in scenes_heard]) for t in get_args(Trunk)}
    cries_heard = ears.hear(f"cries-{corpus.manifest_hash(root)[:8]}", cries.audio)

    study = Study(recipe, ears.mn04)
    detection = detection_task(segments["train"], segments["val"], heard)
    n_train = len(segments["train"].share)
    cells = cells_of(
        study,
        detection,
        lambda evidence: evidence[:, n_train:, 0],
        DetectionScores(segments["val"], recipe["bootstrap_draws"]),
    )
    pooling_report.show(console, cells, "detection")
    pooling_report.write(options.out, cells, notes, recipe)
    cause = cause_task(cries, cries_heard, recipe["folds"])
    cells += cells_of(study, cause, lambda evidence: evidence, cause_scores(cause, cries, recipe))
    pooling_report.show(console, cells, "cause")
    took, busy = (time.perf_counter() - begun) / 60.0, time.process_time() / 60.0
    notes.append(
        f"run time {took:.1f} minutes, {busy:.1f} of them on the processor, {options.jobs} thread(s)"
    )
    pooling_report.write(options.out, cells, notes, recipe)
    console.print(notes[-1], f"written to {options.out}")


if __name__ == "__main__":
    main()
