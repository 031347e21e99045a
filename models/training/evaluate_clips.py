"""Every clip of a split through the real pipeline, each on its own in a quiet stream."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models.training import metrics, mixing, window_rules
from models.training.corpus import AudioStore, Clip, Split, load_manifest
from models.training.metrics import Interval
from models.training.night_hearing import DETECTOR, GateLoss, Systems, gate_loss
from models.training.night_maker import is_doubtful
from models.training.streaming import Heard, Listener
from monitor.detect.loading import load_pipeline
from monitor.types import samples, seconds

PADDING_S: Final = 2.0
PADDING_DBFS: Final = -75.0
"""A quiet room before and behind each clip: a stream does not begin with a cry."""
CHUNK: Final = 32
"""Clips a task; a pipeline is loaded once for them."""
CRY, UNVERIFIED = "cry", "cry_unverified"


@dataclass(frozen=True, slots=True)
class ClipHeard:
    """Whether each system raised an episode in a clip, and how sure the detector was."""

    clip: Clip
    fired: dict[str, bool]
    top_score: float
    loss: GateLoss


def padded(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int16]:
    """A clip as int16 between two stretches of low noise."""
    pad = samples(PADDING_S)
    track_ = mixing.at_level(rng.standard_normal(len(x) + 2 * pad).astype(np.float32), PADDING_DBFS)
    track_[pad : pad + len(x)] += x
    return np.rint(mixing.clip_hard(track_) * 32767.0).astype(np.int16)


def hear_clips(
    systems: Systems, data: Path, cache: Path, numbered: Sequence[tuple[int, Clip]]
) -> list[ClipHeard]:
    """Run every system over some clips; the number seeds a clip's padding."""
    store = AudioStore(data, cache)
    listener = None
    if systems.settings is not None:
        listener = Listener(load_pipeline(systems.settings, systems.artifacts))
    rivals = systems.rivals()
    results = []
    for number, clip in numbered:
        clean = store.samples(clip)
        x = padded(clean, np.random.default_rng(number))
        fired: dict[str, bool] = {}
        top_score, loss = 0.0, GateLoss()
        if listener is not None:
            heard = listener.listen(x)
            fired[DETECTOR] = bool(heard.episodes)
            top_score, loss = heard.top_score, _loss_in(clip, clean, heard)
        for rival in rivals:
            scores = rival.score(x)
            for rule in rival.rules:
                fired[f"{rival.name} {rule.name}"] = bool(window_rules.rule_episodes(scores, rule))
        results.append(ClipHeard(clip, fired, top_score, loss))
    return results


def _loss_in(clip: Clip, clean: NDArray[np.float32], heard: Heard) -> GateLoss:
    if clip.label != CRY or is_doubtful(clip):
        return GateLoss()
    runs = mixing.runs(mixing.active_mask(clean))
    at = [[PADDING_S + seconds(edge * mixing.FRAME_SAMPLES) for edge in run] for run in runs]
    return gate_loss(heard, at)


def evaluate_clips(
    split: Split, systems: Systems, data: Path, cache: Path, jobs: int, console: Console
) -> dict[str, Any]:
    """Measure, print the tables, and return everything for ``--json``."""
    numbered = [(i, clip) for i, clip in enumerate(load_manifest(data)) if clip.split == split]
    AudioStore(data, cache)  # written once, before the processes share it
    chunks = [numbered[i : i + CHUNK] for i in range(0, len(numbered), CHUNK)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        results = pool.map(partial(hear_clips, systems, data, cache), chunks)
        shown = track(results, "clips", total=len(chunks), console=console, transient=True)
        heard = [one for chunk in shown for one in chunk]
    names = list(heard[0].fired)
    console.print(_recall_table(split, heard, names))
    console.print(_alarm_table(heard, names))
    result: dict[str, Any] = {"split": split, "clips": len(heard)}
    if systems.settings is not None:
        loss = sum((one.loss for one in heard), GateLoss())
        ranking = _ranking(heard)
        console.print(loss.sentence(), soft_wrap=True)
        for metric, interval in ranking.items():
            console.print(
                f"{metric} of the highest score, verified cries against the rest: {_share(interval)}"
            )
        result |= {"gate_loss": asdict(loss)} | {name: asdict(value) for name, value in ranking.items()}
    result["recall"] = {
        group: {name: asdict(_fired(chosen, name)) for name in names}
        for group, chosen in _cry_groups(heard).items()
    }
    result["false_alarms"] = {
        label: {"clips": len(chosen)} | {name: sum(one.fired[name] for one in chosen) for name in names}
        for label, chosen in _others(heard).items()
    }
    result["fired"] = {one.clip.path: one.fired | {"top_score": one.top_score} for one in heard}
    return result


def _cry_groups(heard: Sequence[ClipHeard]) -> dict[str, list[ClipHeard]]:
    cries = [one for one in heard if one.clip.label == CRY]
    return {
        "verified cries": cries,
        "  in which mn04 hears one too": [one for one in cries if not is_doubtful(one.clip)],
        "  doubtful": [one for one in cries if is_doubtful(one.clip)],
        "unverified uploads (no truth)": [one for one in heard if one.clip.label == UNVERIFIED],
    }


def _others(heard: Sequence[ClipHeard]) -> dict[str, list[ClipHeard]]:
    labels = sorted({one.clip.label for one in heard} - {CRY, UNVERIFIED})
    return {label: [one for one in heard if one.clip.label == label] for label in labels}


def _fired(chosen: Sequence[ClipHeard], name: str) -> Interval:
    return metrics.wilson(sum(one.fired[name] for one in chosen), len(chosen))


def _ranking(heard: Sequence[ClipHeard]) -> dict[str, Interval]:
    """AUC and AP over clips, with intervals over whole groups: clips of one baby are no new babies."""
    chosen = [one for one in heard if one.clip.label != UNVERIFIED]
    scores = np.array([one.top_score for one in chosen])
    labels = np.array([one.clip.label == CRY for one in chosen])
    groups = [one.clip.group for one in chosen]
    return {
        name: metrics.bootstrap(metric, scores, labels, np.random.default_rng(0), groups=groups)
        for name, metric in (("AUC", metrics.roc_auc), ("AP", metrics.average_precision))
    }


def _recall_table(split: Split, heard: Sequence[ClipHeard], names: Sequence[str]) -> Table:
    table = Table(title=f"share of clips of {split} in which an episode was raised; 95 % intervals")
    for column in ("clips", "n", *names):
        table.add_column(column)
    for group, chosen in _cry_groups(heard).items():
        table.add_row(group, str(len(chosen)), *(_share(_fired(chosen, name)) for name in names))
    others = [one for chosen in _others(heard).values() for one in chosen]
    table.add_row("all other sounds", str(len(others)), *(_share(_fired(others, name)) for name in names))
    return table


def _alarm_table(heard: Sequence[ClipHeard], names: Sequence[str]) -> Table:
    table = Table(title="false alarms by label (labels without any are left out)")
    for column in ("label", "clips", "minutes", *names):
        table.add_column(column)
    for label, chosen in _others(heard).items():
        counts = [sum(one.fired[name] for one in chosen) for name in names]
        minutes = sum(one.clip.duration_s for one in chosen) / 60.0
        if any(counts):
            table.add_row(label, str(len(chosen)), f"{minutes:.1f}", *(str(c) if c else "" for c in counts))
    return table


def _share(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
