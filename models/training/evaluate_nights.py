"""Every hour of sets of nights through the real pipeline, with its rivals beside it on the same audio."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial, reduce
from multiprocessing import get_context
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from models.training import night_curves, night_score, night_tables
from models.training.night_curves import Point
from models.training.night_hearing import GateLoss, HourHeard, Systems, hear_hour
from models.training.night_score import SystemScore
from monitor.errors import ConfigError


@dataclass(frozen=True, slots=True)
class NightReport:
    """What is reported beside the rules. ``rt60_s``: reverberation time by room, None if not known."""

    rt60_s: Mapping[str, float | None] | None = None
    psds: bool = False
    thresholds_from: Path | None = None
    """JSON of an evaluation on other nights, whose thresholds are read here."""


def evaluate_nights(
    folders: Sequence[Path], systems: Systems, report: NightReport, jobs: int, console: Console
) -> dict[str, Any]:
    """Measure, print the tables, and return everything for ``--json``."""
    chosen = _thresholds(report.thresholds_from)
    heard = hear_nights(folders, systems, jobs, console)
    hours = [one.hour for one in heard]
    scores = [
        night_score.score_system(name, hours, [one.said[name] for one in heard]) for name in heard[0].said
    ]
    total = scores[0].hours
    networks = list(heard[0].scored)
    curves = {
        name: night_curves.curve([one.scored[name].counted for one in heard], total) for name in networks
    }
    result: dict[str, Any] = {
        "nights": [str(folder) for folder in folders],
        "hours": total,
        "systems": [night_tables.as_json(score, report.rt60_s) for score in scores],
        "scores": {name: night_tables.curve_json(points) for name, points in curves.items()},
    }
    for name in networks:
        joined = reduce(add, (one.scored[name].reliability for one in heard))
        result["scores"][name]["reliability"] = joined.as_json()
    _print_rules(scores, report, console)
    console.print(night_tables.at_limits(curves))
    if chosen is not None:
        console.print(night_tables.transferred(curves, chosen))
        result["thresholds_from"] = _transferred(curves, chosen)
    if report.psds:
        _add_psds(heard, result, console)
    if systems.settings is not None:
        loss = sum((one.loss for one in heard), GateLoss())
        awake = float(np.mean([one.awake_share for one in heard]))
        console.print(f"{loss.sentence()}; gate model awake {awake:.1%} of the time", soft_wrap=True)
        result["gate_loss"] = asdict(loss) | {"awake_share": awake}
    return result


def hear_nights(folders: Sequence[Path], systems: Systems, jobs: int, console: Console) -> list[HourHeard]:
    """Run every system over every hour. Raises ConfigError for unfinished or equally named sets."""
    files = [file for folder in folders for file in night_score.hour_files(folder)]
    if len({folder.resolve().name for folder in folders}) < len(folders):
        raise ConfigError("two sets of nights have the same name.", "Rename a folder: hours are told by it.")
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        results = pool.map(partial(hear_hour, systems), files)
        return list(track(results, "hours", total=len(files), console=console, transient=True))


def _print_rules(scores: Sequence[SystemScore], report: NightReport, console: Console) -> None:
    with_bouts = bool(scores[0].clear())
    console.print(night_tables.summary(scores))
    if with_bouts:
        console.print(night_tables.minutes(scores))
        for table in night_tables.recalls(scores, report.rt60_s):
            console.print(table)
        if report.rt60_s is None:
            console.print("RT60 of the rooms is not known here (no data folder); rooms stand by name.")
    console.print(night_tables.named_sounds(scores, scores[0].labels))
    console.print(night_tables.other_sounds(scores))


def _add_psds(heard: Sequence[HourHeard], result: dict[str, Any], console: Console) -> None:
    from models.training.psds import psds  # noqa: PLC0415  # measuring extra only

    own = {
        name: psds([one.hour for one in heard], [one.scored[name].track for one in heard])
        for name in heard[0].scored
    }
    console.print(night_tables.detection_scores(own))
    for name, values in own.items():
        result["scores"][name]["psds"] = values


def _thresholds(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        stored = json.loads(path.read_text())
        return {name: own["at"] for name, own in stored["scores"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--thresholds-from {str(path)!r} holds no curves: {error!r}.",
            "Give the --json of an evaluation on nights.",
        ) from error


def _transferred(
    curves: Mapping[str, Sequence[Point]], chosen: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        name: {
            limit: asdict(night_curves.at_threshold(points, there["threshold"]))
            for limit, there in chosen.get(name, {}).items()
            if there is not None
        }
        for name, points in curves.items()
    }
