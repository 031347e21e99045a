"""Find out honestly whether anything about a cry's cause is heard across babies.

``python -m models.training.cause_study --out runs/cause_study``: every verified cry of every split,
cross-validated by app installation, several poolings and heads on frozen mn04 vectors, beside base rates,
permuted labels and the ungrouped split that flatters. Writes ``cause_study.json`` and pictures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.training import cause_metrics as worth
from models.training import cause_plots, corpus, probe
from models.training.cause import LABELS, NO_CAUSE
from models.training.cause_questions import (
    DRAWS,
    N_FOLDS,
    PRIMARY,
    QUESTIONS,
    Asked,
    Pipeline,
    calibrated,
    chance,
    deal,
    probabilities_report,
    score,
)
from models.training.cause_sounds import Sounds, listen, reported_causes
from models.training.grouped import stratified_group_folds
from models.training.metrics import Interval

HEADS = {"LDA": probe.lda, "logistic": probe.logistic}
POOLINGS = ("mean", "max", "statistic", "mean_3s")
ATTENTION, ATTENTION_AXES = "attention", 32
WIDER_SCORE = 0.05
"""Least mn04 score of an unverified upload whose label is taken at its word."""


def pipelines_of(sounds: Sounds, verified: NDArray[np.bool_]) -> dict[str, Pipeline]:
    """Each pooling with each head, and attention that learns its own pooling."""
    made = {}
    for pooling in POOLINGS:
        vectors = sounds.vectors[pooling]
        near = probe.projected(vectors[verified], vectors[~verified])
        made |= {f"{pooling}, {name}": Pipeline(near, head) for name, head in HEADS.items()}
    steps = sounds.columns.transpose(0, 2, 1)
    flat, unlabelled = (steps[part].reshape(-1, steps.shape[2]) for part in (verified, ~verified))
    near = probe.projected(flat, unlabelled, ATTENTION_AXES)
    shaped = near.reshape(-1, steps.shape[1], ATTENTION_AXES)
    return made | {ATTENTION: Pipeline(shaped, probe.attention, at_once=20)}


@dataclasses.dataclass(frozen=True)
class Answer:
    """All that one question brought to light."""

    report: dict[str, Any]
    null: NDArray[np.float64]
    posteriors: NDArray[np.float64]
    guesses: NDArray[np.int64]


def ask(
    asked: Asked, pipelines: dict[str, Pipeline], *, repeats: int, permutations: int, seed: int, bar: Progress
) -> Answer:
    """Every pipeline on one question. The question's own p counts that the best of them is looked at."""
    rng = np.random.default_rng([seed, len(asked.label)])
    folds = np.array([asked.folds(asked.label, rng) for _ in range(repeats)])
    alone = np.arange(len(asked.label)).astype(str)
    loose = np.array([stratified_group_folds(asked.label, alone, N_FOLDS, rng) for _ in range(repeats)])
    labels = np.tile(asked.label, (repeats, 1))
    weights = worth.group_draws(asked.groups, DRAWS, rng)
    dealt = deal(asked, permutations, rng)
    task = bar.add_task(asked.question.name, total=len(pipelines) + 1)
    scores, nulls, guesses = {}, [], {}
    for name, pipeline in pipelines.items():
        evidence = asked.evidence(pipeline, labels, folds)
        nulls.append(chance(asked, pipeline, dealt))
        scores[name] = score(asked, evidence, asked.evidence(pipeline, labels, loose), nulls[-1], weights)
        guesses[name] = evidence.argmax(axis=2)
        bar.advance(task)
    posteriors, rates = calibrated(asked, pipelines[PRIMARY], folds, rng)
    bar.advance(task)
    best = max(scores, key=lambda name: scores[name].balanced_accuracy.value)
    highest = np.max(nulls, axis=0)
    report = {
        "n": len(asked.label),
        "babies": len(np.unique(asked.groups)),
        "classes": {
            name: {
                "n": int((asked.label == c).sum()),
                "babies": len(np.unique(asked.groups[asked.label == c])),
            }
            for c, name in enumerate(asked.question.classes)
        },
        "chance": 1.0 / asked.n_classes,
        "chance_best_of_all_97_5": float(np.percentile(highest, 97.5)),
        "best": best,
        "p_best_of_all": worth.permutation_p(scores[best].balanced_accuracy.value, highest),
        "pipelines": {name: dataclasses.asdict(value) for name, value in scores.items()},
        "constant": constant(asked),
        "probabilities": probabilities_report(asked, posteriors, rates, weights),
    }
    return Answer(report, highest, posteriors, guesses[PRIMARY])


def constant(asked: Asked) -> dict[str, float]:
    """The predictor that always says the commonest class."""
    common = np.full(len(asked.label), np.bincount(asked.label).argmax())
    hit = (common == asked.label).astype(np.float64)
    return {
        "accuracy": float(hit.mean()),
        "balanced_accuracy": float(worth.recalls(hit, asked.label).mean()),
        "macro_f1": worth.macro_f1(common, asked.label),
    }


def of_other_babies(
    scored: NDArray[np.bool_], groups: NDArray[np.str_], folds: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(repeats, n, N_FOLDS): what is not scored may teach a fold unless its baby is held out there."""
    extra = np.zeros((*folds.shape, N_FOLDS), bool)
    for r, k in np.ndindex(len(folds), N_FOLDS):
        extra[r, :, k] = ~scored & ~np.isin(groups, groups[folds[r] == k])
    return extra


def wider(sounds: Sounds, verified: NDArray[np.bool_], *, repeats: int, seed: int) -> dict[str, Any]:
    """Causes again, taught also by what parents said of unverified uploads that mn04 takes for cries."""
    heard = np.array([(clip.mn04_cry or 0.0) >= WIDER_SCORE for clip in sounds.clips])
    added = ~verified & heard & (sounds.cause != NO_CAUSE)
    used = np.flatnonzero((verified & (sounds.cause != NO_CAUSE)) | added)
    scored, cause, groups = ~added[used], sounds.cause[used], sounds.groups[used]
    rng = np.random.default_rng([seed, 1])
    folds = np.full((repeats, len(used)), -1)
    for r in range(repeats):
        folds[r, scored] = stratified_group_folds(cause[scored], groups[scored], N_FOLDS, rng)
    extra = of_other_babies(scored, groups, folds)
    labels = np.tile(cause, (repeats, 1))
    weights = worth.group_draws(groups[scored], DRAWS, rng)
    report: dict[str, Any] = {
        "least_score": WIDER_SCORE,
        "labelled_uploads": int((~verified & (sounds.cause != NO_CAUSE)).sum()),
        "added": {name: int((cause[~scored] == c).sum()) for c, name in enumerate(LABELS)},
    }
    vectors = probe.projected(sounds.vectors["mean"][used], sounds.vectors["mean"][~verified])
    for name, more in (("without", None), ("with", extra)):
        evidence = probe.out_of_fold(probe.logistic, vectors, labels, folds, len(LABELS), more)[:, scored]
        hit = (evidence.argmax(axis=2) == cause[scored]).mean(axis=0)
        report[name] = worth.balanced_accuracy_interval(hit, cause[scored], weights)
    return report


def study(sounds: Sounds, *, repeats: int, permutations: int, seed: int, out: Path) -> dict[str, Any]:
    """All questions; pictures into ``out``."""
    verified = np.array([clip.verified for clip in sounds.clips])
    clips = [clip for clip in sounds.clips if clip.verified]
    pipelines = pipelines_of(sounds, verified)
    plain = {name: pipeline for name, pipeline in pipelines.items() if name != ATTENTION}
    answers: dict[str, Answer] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        for question in QUESTIONS:
            asked = Asked.of(question, clips)
            # Attention learns its pooling and costs more than all the others: for causes only.
            own = pipelines if asked.n_classes == len(LABELS) else plain
            answers[question.name] = ask(
                asked, own, repeats=repeats, permutations=permutations, seed=seed, bar=bar
            )
    corrected = worth.holm([answer.report["p_best_of_all"] for answer in answers.values()])
    for answer, p in zip(answers.values(), corrected, strict=True):
        answer.report["p_corrected"] = p
    draw(out, Asked.of(QUESTIONS[0], clips), answers)
    return {
        "clips": len(clips),
        "babies": len({clip.group for clip in clips}),
        "folds": N_FOLDS,
        "repeats": repeats,
        "permutations": permutations,
        "seed": seed,
        "questions": {name: answer.report for name, answer in answers.items()},
        "wider_labels": wider(sounds, verified, repeats=repeats, seed=seed),
    }


def draw(out: Path, asked: Asked, answers: dict[str, Answer]) -> None:
    first = answers[asked.question.name]
    cause_plots.risk_coverage(
        out / "risk_coverage.png",
        [worth.risk_coverage(p, asked.label) for p in first.posteriors],
        1.0 - first.report["constant"]["accuracy"],
    )
    together = first.posteriors.reshape(-1, asked.n_classes)
    everywhere = np.tile(asked.label, len(first.posteriors))
    cause_plots.reliability(out / "reliability.png", worth.reliability(together, everywhere))
    counts = worth.confusion(first.guesses.reshape(-1), everywhere, asked.n_classes)
    cause_plots.confusion(
        out / "confusion.png",
        counts / counts.sum(axis=1, keepdims=True),
        np.bincount(asked.label).tolist(),
        asked.question.classes,
    )
    cause_plots.chance(
        out / "chance.png",
        {
            name: a.report["pipelines"][a.report["best"]]["balanced_accuracy"]["value"]
            for name, a in answers.items()
        },
        {name: a.null for name, a in answers.items()},
        {name: a.report["chance"] for name, a in answers.items()},
    )


def written(value: Any) -> Any:
    """For JSON: intervals and numpy's numbers as plain ones."""
    if isinstance(value, Interval):
        return dataclasses.asdict(value)
    raise TypeError(type(value).__name__)


def show(report: dict[str, Any], console: Console) -> None:
    """The tables that are read; everything else is in the JSON."""
    table = Table(title=f"Across babies: {report['clips']} verified cries, {report['babies']} babies")
    for column in ("question", "chance", "best of all heads", "balanced accuracy [95 %]", "chance reaches",
                   "p", "p, all questions", "ungrouped", "log-loss gain over base rates [95 %]"):  # fmt: skip
        table.add_column(column)
    for name, own in report["questions"].items():
        best = own["pipelines"][own["best"]]
        table.add_row(
            name, f"{own['chance']:.2f}", own["best"], in_brackets(best["balanced_accuracy"]),
            f"{own['chance_best_of_all_97_5']:.3f}", f"{own['p_best_of_all']:.3f}",
            f"{own['p_corrected']:.3f}", f"{best['ungrouped']:.3f}",
            in_brackets(own["probabilities"]["log_loss_gain"]),
        )  # fmt: skip
    console.print(table)
    heads = Table(title="Cause, every head")
    for column in ("head", "balanced accuracy [95 %]", "p", "macro-F1", "ungrouped", *LABELS):
        heads.add_column(column)
    own = report["questions"][QUESTIONS[0].name]
    for name, value in own["pipelines"].items():
        recall = (f"{value['recall'][label]['value']:.2f}" for label in LABELS)
        heads.add_row(name, in_brackets(value["balanced_accuracy"]), f"{value['p']:.3f}",
                      f"{value['macro_f1']:.3f}", f"{value['ungrouped']:.3f}", *recall)  # fmt: skip
    always = own["constant"]
    heads.add_row("always hungry", f"{always['balanced_accuracy']:.3f}", "", f"{always['macro_f1']:.3f}")
    console.print(heads)


def in_brackets(interval: Any) -> str:
    own = dataclasses.asdict(interval) if isinstance(interval, Interval) else interval
    return f"{own['value']:.3f} [{own['low']:.3f}, {own['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.training.cause_study", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pretrained", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=10, help="sets of folds")
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    root, pretrained = corpus.data_root(options.data), corpus.pretrained_root(options.pretrained)
    uploads = [clip for clip in corpus.load_manifest(root) if clip.source == "donateacry"]
    store = corpus.AudioStore(root, options.cache)
    sounds = listen(uploads, reported_causes(root), store, pretrained, None)
    report = {"data_sha256": corpus.manifest_hash(root)} | study(
        sounds, repeats=options.repeats, permutations=options.permutations, seed=options.seed, out=options.out
    )
    target = options.out / "cause_study.json"
    target.write_text(json.dumps(report, indent=2, default=written) + "\n")
    show(report, Console())
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
