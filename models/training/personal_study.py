"""Measure what a baby's own confirmed cries teach, beside the baby's own counts of causes without sound.

``python -m models.training.personal_study --out runs/personal --student runs/cause/cause.pt``: every baby
with several verified cries, confirmed one by one in many orders. A baby is measured with a prior and
choices from train babies other than itself. Writes ``personal.json``, the learning curve and, for each
embedding, ``personal-<embedding>.npz``, the prior that ships, from train cries alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models.training import cause_metrics as worth
from models.training import cause_plots, corpus
from models.training.cause_sounds import Sounds, fingerprint, listen, load_student, reported_causes
from models.training.cause_study import in_brackets, written
from models.training.metrics import Interval
from models.training.personal_curve import (
    AXES,
    CAUSE_VARIANCES,
    Baby,
    Choice,
    choose,
    every_choice,
    fit_prior,
    losses,
    scatter_p,
    tell,
)
from models.training.personal_sessions import across, pairs, sessions, times
from monitor.detect.personal_prior import PersonalPrior

DRAWS = 1000
PERMUTATIONS = 499
LONGEST = 6
"""Confirmed cries up to which the curve goes: beyond, too few babies have so many."""
FEWEST = 5
"""Babies below which there is no figure: an interval over two is none."""
SYSTEMS = ("base rates", "own counts", "own counts and sound", "sound at full weight")


def prior_without(sounds: Sounds, name: str, embedding: str, baby: str | None, k: int) -> PersonalPrior:
    """Of the train cries that may teach weights that ship, but for one baby's."""
    train = np.array([clip.split == "train" and clip.train_ok for clip in sounds.clips])
    used = train & (sounds.groups != baby)
    return fit_prior(embedding, sounds.vectors[name][used], sounds.cause[used], sounds.groups[used], k)


def babies_of(sounds: Sounds, name: str, embedding: str, seed: int) -> list[Baby]:
    """Every baby with two cries or more, told under a prior from the train cries of all others."""
    vectors, groups = sounds.vectors[name], sounds.groups
    names, size = np.unique(groups, return_counts=True)
    babies = []
    for baby in track(names[size > 1], f"{name}: babies"):
        own = np.flatnonzero(groups == baby)
        rooms, rates = {}, np.zeros(0)
        for k in AXES:
            prior = prior_without(sounds, name, embedding, str(baby), k)
            rates = prior.base_rates
            for variance in CAUSE_VARIANCES:
                fitted = Choice(k, variance, 1.0, 0.0).of(prior)
                rng = np.random.default_rng(seed)
                rooms[k, variance] = tell(fitted, vectors[own], sounds.cause[own], rng)
        babies.append(Baby(str(baby), sounds.clips[own[0]].split, rates, rooms))
    return babies


def choices_of(babies: Sequence[Baby]) -> dict[str, list[Choice]]:
    """For each system and baby, what train babies other than it are best served by."""
    grids = (every_choice((0.0,)), every_choice(), every_choice((1.0,)))
    return {
        name: choose(babies, losses(babies, grid), grid)
        for name, grid in zip(SYSTEMS[1:], grids, strict=True)
    }


def answers_of(
    babies: Sequence[Baby], chosen: dict[str, list[Choice]]
) -> dict[str, list[NDArray[np.float64]]]:
    """The posteriors of each system for each baby."""
    answers = {
        name: [baby.posteriors(choice) for baby, choice in zip(babies, own, strict=True)]
        for name, own in chosen.items()
    }
    flat = [np.broadcast_to(baby.rates, p.shape) for baby, p in zip(babies, answers[SYSTEMS[1]], strict=True)]
    return {SYSTEMS[0]: flat} | answers


def by_place(
    babies: Sequence[Baby], answers: Sequence[NDArray[np.float64]], of: Callable[..., NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """For each baby (cries, places): ``of(p, cause)`` of each cry at each place, mean over the orders."""
    result = []
    for baby, p in zip(babies, answers, strict=True):
        told = next(iter(baby.rooms.values()))
        cause = told.cause[told.cry]
        value, n = of(p, cause), len(told.cause)
        table = np.zeros((n, n))
        places = np.broadcast_to(np.arange(n), told.cry.shape)
        np.add.at(table, (told.cry, places), value)
        # The orders are rotations: every cry is at every place equally often.
        result.append(table * n / len(told.cry))
    return result


def hits(p: NDArray[np.float64], cause: NDArray[np.int64]) -> NDArray[np.float64]:
    return (p.argmax(axis=2) == cause).astype(np.float64)


def log_losses(p: NDArray[np.float64], cause: NDArray[np.int64]) -> NDArray[np.float64]:
    return -np.log(np.take_along_axis(p, cause[:, :, None], axis=2)[:, :, 0])


def point(
    babies: Sequence[Baby], tables: Sequence[NDArray[np.float64]], place: slice, *, balanced: bool, seed: int
) -> Interval:
    """A figure over the cries of all babies that have so many, intervals over babies."""
    first = place.start or 0
    used = [i for i, baby in enumerate(babies) if len(tables[i]) > first]
    value = np.concatenate([tables[i][:, place].mean(axis=1) for i in used])
    cause = np.concatenate([next(iter(babies[i].rooms.values())).cause for i in used])
    groups = np.concatenate([np.full(len(tables[i]), babies[i].name) for i in used])
    weights = worth.group_draws(groups, DRAWS, np.random.default_rng(seed))
    if balanced:
        return worth.balanced_accuracy_interval(value, cause, weights)
    return worth.mean_interval(value, weights)


def curve_of(
    babies: Sequence[Baby], answers: dict[str, list[NDArray[np.float64]]], seed: int
) -> dict[str, Any]:
    """Figures behind each number of confirmed cries, and over all cries behind the first."""
    places = {str(k): slice(k, k + 1) for k in range(LONGEST + 1)} | {"1 and more": slice(1, None)}
    loss = {name: by_place(babies, p, log_losses) for name, p in answers.items()}
    hit = {name: by_place(babies, p, hits) for name, p in answers.items()}
    counts = {"log_loss": loss["own counts"], "accuracy": hit["own counts"]}
    result: dict[str, Any] = {}
    for label, place in places.items():
        having = sum(len(table) > (place.start or 0) for table in hit["own counts"])
        if having < FEWEST:
            continue
        row: dict[str, Any] = {"babies": having}
        for name in answers:
            gain = [a - b for a, b in zip(counts["log_loss"], loss[name], strict=True)]
            more = [b - a for a, b in zip(counts["accuracy"], hit[name], strict=True)]
            row[name] = {
                "log_loss": point(babies, loss[name], place, balanced=False, seed=seed),
                "accuracy": point(babies, hit[name], place, balanced=False, seed=seed),
                "balanced_accuracy": point(babies, hit[name], place, balanced=True, seed=seed),
                "log_loss_gain_over_own_counts": point(babies, gain, place, balanced=False, seed=seed),
                "accuracy_over_own_counts": point(babies, more, place, balanced=False, seed=seed),
            }
        result[label] = row
    return result


def study(
    sounds: Sounds, name: str, embedding: str, when: NDArray[np.float64], out: Path, *, clean: bool, seed: int
) -> dict[str, Any]:
    """One embedding. ``clean``: its network never learnt from causes, so train babies may be scored too."""
    babies = babies_of(sounds, name, embedding, seed)
    chosen = choices_of(babies)
    answers = answers_of(babies, chosen)
    several = np.array([len(np.unique(next(iter(b.rooms.values())).cause)) > 1 for b in babies])
    scored = np.array([clean or baby.split != "train" for baby in babies])
    prior = shipped(sounds, name, embedding, babies)
    prior.save(out / f"personal-{name}.npz")
    report: dict[str, Any] = {
        "embedding": embedding,
        "scored": "all splits" if clean else "val and test only: the network learnt train's causes",
        "shipped": {
            "axes": prior.axes.shape[1],
            "baby_variance": prior.baby_variance,
            "cause_variance": prior.cause_variance,
            "prior_count": prior.prior_count,
            "sound_weight": prior.sound_weight,
        },
    }
    session = sessions(sounds.groups, when)
    mixed = np.isin(sounds.groups, [b.name for b, ok in zip(babies, several & scored, strict=True) if ok])
    z = np.stack([prior.place(vector) for vector in sounds.vectors[name]])
    for title, cells in (("within babies", sounds.groups), ("within sessions", session.astype(str))):
        rng = np.random.default_rng(seed)
        ratio, p = scatter_p(z[mixed], sounds.cause[mixed], cells[mixed], PERMUTATIONS, rng)
        report[title] = {"scatter_over_chance": ratio, "p": p, "cries": int(mixed.sum())}
    for title, which in (("all babies", scored), ("babies with several causes", several & scored)):
        own = np.flatnonzero(which)
        part = {system: [p[i] for i in own] for system, p in answers.items()}
        report[title] = curve_of([babies[i] for i in own], part, seed)
    own = np.flatnonzero(scored)
    systems = {
        system: (
            [chosen[system][i] for i in own],
            lambda baby, choice: choice.of(prior_without(sounds, name, embedding, baby.name, choice.k)),
        )
        for system in SYSTEMS[1:]
    }
    report["pairs"] = pairs(sounds.groups, session, sounds.cause)
    report["across sessions"] = across(
        [babies[i] for i in own],
        lambda baby: np.flatnonzero(sounds.groups == baby.name),
        session,
        sounds.vectors[name],
        sounds.cause,
        systems,
        np.random.default_rng(seed),
    )
    return report


def shipped(sounds: Sounds, name: str, embedding: str, babies: Sequence[Baby]) -> PersonalPrior:
    """From train cries alone, with what train babies are best served by."""
    taught, choices = [baby for baby in babies if baby.split == "train"], every_choice()
    choice = choices[int(losses(taught, choices).mean(axis=0).argmin())]
    return choice.of(prior_without(sounds, name, embedding, None, choice.k))


def show(report: dict[str, Any], console: Console) -> None:
    for name, own in report.items():
        for title in ("all babies", "babies with several causes"):
            table = Table(title=f"{name}, {title} ({own['scored']})")
            columns = (
                "confirmed",
                "babies",
                *(f"{system}: log-loss / accuracy" for system in SYSTEMS),
                "gain of sound over own counts, nats [95 %]",
                "balanced accuracy of sound [95 %]",
            )
            for column in columns:
                table.add_column(column)
            for confirmed, row in own[title].items():
                both = (f"{row[s]['log_loss'].value:.2f} / {row[s]['accuracy'].value:.2f}" for s in SYSTEMS)
                sound = row[SYSTEMS[2]]
                table.add_row(confirmed, str(row["babies"]), *both,
                              in_brackets(sound["log_loss_gain_over_own_counts"]),
                              in_brackets(sound["balanced_accuracy"]))  # fmt: skip
            console.print(table)
        for title in ("within babies", "within sessions", "pairs", "shipped"):
            console.print(f"{title}: {own[title]}")
        figures = {
            key: in_brackets(value) if isinstance(value, Interval) else value
            for key, value in own["across sessions"].items()
        }
        console.print(f"across sessions: {figures}")


def draw(out: Path, name: str, report: dict[str, Any]) -> None:
    for title in ("all babies", "babies with several causes"):
        rows = [row for confirmed, row in report[title].items() if confirmed.isdigit()]
        cause_plots.learning_curve(
            out / f"learning-{name}-{title.replace(' ', '_')}.png",
            f"{title.capitalize()}",
            "log-loss of the next cry, nats",
            {system: [row[system]["log_loss"] for row in rows] for system in SYSTEMS[1:]},
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.training.personal_study", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pretrained", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--student", type=Path, help="cause.pt of a cause run, to measure its embedding too")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    root, pretrained = corpus.data_root(options.data), corpus.pretrained_root(options.pretrained)
    cries = [clip for clip in corpus.load_manifest(root) if clip.verified and clip.cause5 is not None]
    student = None if options.student is None else load_student(options.student)
    sounds = listen(cries, reported_causes(root), corpus.AudioStore(root, options.cache), pretrained, student)
    teacher = pretrained / "efficientat-mn04" / "mn04_as_mAP_432.pt"
    names = {name: fingerprint(f"mn04-{name}", teacher) for name in ("mean", "mean_3s")}
    if options.student is not None:
        names["cause_net"] = fingerprint("cause-net-pooled", options.student)
    recorded = times(root)
    when = np.array([recorded[clip.path] for clip in sounds.clips])
    report = {}
    for name, embedding in names.items():
        report[name] = study(
            sounds, name, embedding, when, options.out, clean=name != "cause_net", seed=options.seed
        )
        draw(options.out, name, report[name])
    target = options.out / "personal.json"
    target.write_text(json.dumps(report, indent=2, default=written) + "\n")
    show(report, Console())
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
