"""How many bouts are found beside a noise, by SNR and by level, and what the cheap stage takes from them.

Every scene is heard twice: by the detector as it runs, and with the gate awake all the time. The
difference is what the cheap stage loses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.training.corpus import AudioStore, Split, load_manifest
from models.training.metrics import Bout, match_episodes
from models.training.night_hearing import Systems
from models.training.noise_scenes import STEADY, NoiseScenes, Scene, Wanted
from models.training.streaming import Heard, Listener
from monitor.detect.loading import load_pipeline

BABIES: Final = 8
SNRS_DB: Final = (0.0, 5.0, 10.0, 15.0)
LEVEL_DBFS: Final = -65.0
LEVELS_DBFS: Final = (-40.0, -45.0, -50.0, -55.0, -60.0, -65.0, -70.0, -75.0)
LEVELS_SNR_DB: Final = 5.0
NIGHT_SNR_DB: Final = 10.0
EVERY_S: Final = 240.0
SETTLED_S: Final = 5.0
"""Of the noise before the cry, from which on the floor has been learnt."""


@dataclass(frozen=True, slots=True)
class Told:
    """Of one scene: bouts, those found as it runs and with the gate always awake, what was raised else."""

    wanted: Wanted
    bouts: int
    found: int
    found_awake: int
    false_alarms: int
    awake_before: float
    """Share of the noise before the first cry in which the gate ran."""


def hear_scenes(
    systems: Systems, data: Path, cache: Path, split: Split, hours: float, wanted: Sequence[Wanted]
) -> list[Told]:
    """Listen to scenes; with ``hours`` to nights of that length with a bout every EVERY_S."""
    assert systems.settings is not None
    maker = NoiseScenes(load_manifest(data), AudioStore(data, cache), split)
    awake = replace(systems.settings, always_awake=True)
    listeners = [Listener(load_pipeline(own, systems.artifacts)) for own in (systems.settings, awake)]
    told = []
    for each in wanted:
        scene = maker.night(each, hours * 3600.0, EVERY_S) if hours else maker.scene(each)
        told.append(_told(each, scene, *(listener.listen(scene.audio) for listener in listeners)))
    return told


def _told(wanted: Wanted, scene: Scene, heard: Heard, awake: Heard) -> Told:
    matching = match_episodes(scene.bouts, heard.episodes)
    return Told(
        wanted,
        len(scene.bouts),
        sum(matching.found),
        sum(match_episodes(scene.bouts, awake.episodes).found),
        len(matching.false_alarms),
        _awake_share(heard, scene.bouts),
    )


def _awake_share(heard: Heard, bouts: Sequence[Bout]) -> float:
    stops: NDArray[np.float64] = heard.hop_stops_s
    return float(heard.awake[(stops > SETTLED_S) & (stops <= bouts[0].onset_s)].mean())


def scenes_wanted(noises: Sequence[str]) -> list[Wanted]:
    """Both tables' scenes: by SNR at one level, by level at one SNR."""
    cells = [(LEVEL_DBFS, snr) for snr in SNRS_DB]
    cells += [(level, LEVELS_SNR_DB) for level in LEVELS_DBFS if (level, LEVELS_SNR_DB) not in cells]
    return [
        Wanted(noise, level, snr, baby) for noise in noises for level, snr in cells for baby in range(BABIES)
    ]


def evaluate_noise(
    split: Split,
    systems: Systems,
    data: Path,
    cache: Path,
    jobs: int,
    console: Console,
    *,
    noises: Sequence[str] = STEADY,
    hours: float = 0.0,
) -> dict[str, Any]:
    """Measure, print the tables, and return everything for ``--json``."""
    AudioStore(data, cache)  # written once, before the processes share it
    if hours:
        wanted = [Wanted(noise, LEVEL_DBFS, NIGHT_SNR_DB, 0) for noise in noises]
        chunks = [[one] for one in wanted]
    else:
        wanted = scenes_wanted(noises)
        chunks = [list(own) for _, own in groupby(wanted, key=lambda one: (one.noise, one.level_dbfs))]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        told = [
            one
            for chunk in pool.map(partial(hear_scenes, systems, data, cache, split, hours), chunks)
            for one in chunk
        ]
    if hours:
        console.print(_night_table(told, hours))
    else:
        by_snr = [one for one in told if one.wanted.level_dbfs == LEVEL_DBFS]
        by_level = [one for one in told if one.wanted.snr_db == LEVELS_SNR_DB]
        console.print(_scene_table(f"by SNR, noise at {LEVEL_DBFS:g} dBFS", by_snr, "snr_db", "dB"))
        console.print(_scene_table(f"by level, {LEVELS_SNR_DB:g} dB SNR", by_level, "level_dbfs", "dBFS"))
    return {"split": split, "scenes": [_row(one) for one in told]}


def _row(one: Told) -> dict[str, Any]:
    names = ("bouts", "found", "found_awake", "false_alarms", "awake_before")
    wanted = one.wanted
    about = {"noise": wanted.noise, "level_dbfs": wanted.level_dbfs, "snr_db": wanted.snr_db}
    return about | {"baby": wanted.baby} | {name: getattr(one, name) for name in names}


def _cell(told: Iterable[Told]) -> str:
    """Found as it runs / always awake / bouts."""
    own = list(told)
    return "/".join(str(sum(getattr(one, name) for one in own)) for name in ("found", "found_awake", "bouts"))


def _scene_table(title: str, told: Sequence[Told], axis: str, unit: str) -> Table:
    table = Table(title=f"bouts found as it runs / always awake / of, {title}")
    values = sorted({getattr(one.wanted, axis) for one in told})
    for column in ("noise", *(f"{value:g} {unit}" for value in values), "false alarms", "awake before"):
        table.add_column(column, justify="left" if column == "noise" else "right")
    noises = list(dict.fromkeys(one.wanted.noise for one in told))
    for name in (*noises, "all"):
        own = [one for one in told if name in {one.wanted.noise, "all"}]
        cells = [_cell(one for one in own if getattr(one.wanted, axis) == value) for value in values]
        table.add_row(name, *cells, *_rest(own))
    return table


def _night_table(told: Sequence[Told], hours: float) -> Table:
    table = Table(title=f"{hours:g} h beside a noise at {LEVEL_DBFS:g} dBFS, {NIGHT_SNR_DB:g} dB SNR")
    for column in ("noise", "found / always awake / bouts", "false alarms", "awake before"):
        table.add_column(column, justify="left" if column == "noise" else "right")
    for one in told:
        table.add_row(one.wanted.noise, _cell([one]), *_rest([one]))
    return table


def _rest(told: Sequence[Told]) -> tuple[str, str]:
    awake = float(np.mean([one.awake_before for one in told]))
    return str(sum(one.false_alarms for one in told)), f"{awake:.0%}"
