"""Every hour of a set of nights through the real pipeline, with YAMNet beside it on the same audio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models.training import metrics, night_score, yamnet
from models.training.metrics import Interval
from models.training.night_score import Hour, SystemHour, SystemScore
from models.training.streaming import Heard, Listener
from monitor.detect.loading import load_pipeline
from monitor.detect.settings import DetectorSettings

DETECTOR = "cradlewatch"


@dataclass(frozen=True, slots=True)
class Systems:
    """What is measured. ``settings`` None: not the detector; ``yamnet`` None: not YAMNet."""

    settings: DetectorSettings | None
    artifacts: Path | None
    yamnet: Path | None


@dataclass(frozen=True, slots=True)
class GateLoss:
    """Crying that the cheap activity stage kept from the gate model."""

    audible_s: float = 0.0
    slept_s: float = 0.0
    segments: int = 0
    segments_slept: int = 0

    def __add__(self, other: GateLoss) -> GateLoss:
        return GateLoss(
            self.audible_s + other.audible_s,
            self.slept_s + other.slept_s,
            self.segments + other.segments,
            self.segments_slept + other.segments_slept,
        )

    def sentence(self) -> str:
        """For a person."""
        segments = metrics.wilson(self.segments_slept, self.segments)
        time = self.slept_s / self.audible_s if self.audible_s else 0.0
        return (
            f"gate loss: {time:.2%} of {self.audible_s / 60.0:.1f} min audible crying; cry segments slept "
            f"through {self.segments_slept} of {self.segments}, {_percent(segments)}"
        )


def gate_loss(heard: Heard, runs: Iterable[Sequence[float]]) -> GateLoss:
    """The loss over audible runs, ``(start_s, stop_s)`` each."""
    total = GateLoss()
    for start, stop in runs:
        slept = heard.slept_through(start, stop)
        total += GateLoss(stop - start, heard.slept_s(start, stop), 1, int(slept))
    return total


@dataclass(frozen=True, slots=True)
class HourHeard:
    """What every system said in one hour."""

    hour: Hour
    said: dict[str, SystemHour]
    loss: GateLoss
    awake_share: float


def hear_hour(systems: Systems, audio: Path) -> HourHeard:
    """Run every system over one hour."""
    hour = night_score.read_hour(audio.with_suffix(".jsonl"))
    x, _ = soundfile.read(audio, dtype="int16")
    said: dict[str, SystemHour] = {}
    loss, awake_share = GateLoss(), 0.0
    if systems.settings is not None:
        heard = Listener(load_pipeline(systems.settings, systems.artifacts)).listen(x)
        said[DETECTOR] = SystemHour(heard.episodes, heard.crying_s, heard.cpu_s / hour.hours)
        clear = [run for bout in hour.bouts if not bout["doubtful"] for run in bout["audible"]]
        loss, awake_share = gate_loss(heard, clear), float(np.mean(heard.awake))
    if systems.yamnet is not None:
        scores = yamnet.score_windows(x, yamnet.Yamnet(systems.yamnet))
        for rule in yamnet.RULES:
            episodes = yamnet.rule_episodes(scores, rule)
            cost = scores.cpu_s_per_hour(rule)
            said[f"YAMNet {rule.name}"] = SystemHour(episodes, yamnet.crying_s(episodes), cost)
    return HourHeard(hour, said, loss, awake_share)


def evaluate_nights(folder: Path, systems: Systems, jobs: int, console: Console) -> dict[str, Any]:
    """Measure, print the tables, and return everything for ``--json``."""
    files = night_score.hour_files(folder)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        results = pool.map(partial(hear_hour, systems), files)
        heard = list(track(results, "hours", total=len(files), console=console, transient=True))
    hours = [one.hour for one in heard]
    scores = [
        night_score.score_system(name, hours, [one.said[name] for one in heard]) for name in heard[0].said
    ]
    console.print(_summary(scores))
    for table in (*_recall_tables(scores), _alarm_table(scores, hours)):
        console.print(table)
    loss = sum((one.loss for one in heard), GateLoss())
    awake = float(np.mean([one.awake_share for one in heard]))
    if systems.settings is not None:
        console.print(f"{loss.sentence()}; gate model awake {awake:.1%} of the time", soft_wrap=True)
    return {
        "nights": str(folder),
        "hours": scores[0].hours,
        "systems": [_as_json(score, hours) for score in scores],
        "gate_loss": asdict(loss) | {"awake_share": awake},
    }


def _summary(scores: Sequence[SystemScore]) -> Table:
    table = Table(title=f"{scores[0].hours:.0f} h of synthetic nights; 95 % intervals")
    columns = (
        "system", "bouts found", "with doubtful", "false alarms/h", "delay p50 / p95", "already on",
        "crying min/h", "CPU s/h",
    )  # fmt: skip
    for column in columns:
        table.add_column(column)
    for score in scores:
        recall, n = score.recall()
        every, n_every = score.recall_all()
        alarms = score.alarms_per_hour()
        table.add_row(
            score.name,
            f"{_share(recall)} of {n}",
            f"{every.value:.2f} of {n_every}",
            f"{alarms.value:.2f} [{alarms.low:.2f}, {alarms.high:.2f}]",
            f"{score.delay_s(50.0):.1f} / {score.delay_s(95.0):.1f} s",
            str(score.without_delay()),
            f"{score.minutes_error:+.2f}",
            f"{score.cpu_s_per_hour:.2f}",
        )
    return table


def _recall_tables(scores: Sequence[SystemScore]) -> list[Table]:
    tables = []
    for by, classes in night_score.strata(scores[0]).items():
        table = Table(title=f"bouts found by {by}")
        table.add_column(by)
        table.add_column("bouts")
        for score in scores:
            table.add_column(score.name)
        for name, where in classes.items():
            n = scores[0].recall(where)[1]
            if n:
                table.add_row(name, str(n), *(_share(score.recall(where)[0]) for score in scores))
        tables.append(table)
    return tables


def _alarm_table(scores: Sequence[SystemScore], hours: Sequence[Hour]) -> Table:
    table = Table(title="false alarms by the sound that raised them")
    for column in ("sound", "played", "minutes", *(score.name for score in scores)):
        table.add_column(column)
    by_system = [_alarms(score, hours) for score in scores]
    for label in sorted({label for one in by_system for label in one}):
        counts = [one[label].alarms if label in one else 0 for one in by_system]
        first = next(one[label] for one in by_system if label in one)
        if any(counts):
            cells = [str(count) if count else "" for count in counts]
            table.add_row(label, str(first.sounds), f"{first.exposure_s / 60.0:.1f}", *cells)
    return table


def _alarms(score: SystemScore, hours: Sequence[Hour]) -> dict[str, metrics.LabelAlarms]:
    total: dict[str, metrics.LabelAlarms] = {}
    for hour in hours:
        raised = [episode for name, episode, _ in score.false_alarms if name == hour.name]
        for label, more in metrics.alarms_by_label(raised, hour.sounds()).items():
            sofar = total.get(label, metrics.LabelAlarms(0, 0, 0.0))
            total[label] = metrics.LabelAlarms(
                sofar.alarms + more.alarms, sofar.sounds + more.sounds, sofar.exposure_s + more.exposure_s
            )
    return total


def _as_json(score: SystemScore, hours: Sequence[Hour]) -> dict[str, Any]:
    recall, n = score.recall()
    return {
        "name": score.name,
        "recall": asdict(recall) | {"bouts": n},
        "recall_with_doubtful": asdict(score.recall_all()[0]) | {"bouts": score.recall_all()[1]},
        "false_alarms_per_hour": asdict(score.alarms_per_hour()) | {"count": len(score.false_alarms)},
        "delay_s": {"p50": score.delay_s(50.0), "p95": score.delay_s(95.0)},
        "already_on": score.without_delay(),
        "crying_minutes_error_per_hour": score.minutes_error,
        "cpu_s_per_hour": score.cpu_s_per_hour,
        "recall_by": {
            by: {name: asdict(score.recall(where)[0]) | {"bouts": score.recall(where)[1]}
                 for name, where in classes.items()}
            for by, classes in night_score.strata(score).items()
        },
        "false_alarms_by_label": {label: asdict(a) for label, a in _alarms(score, hours).items()},
        "false_alarms": [
            {"hour": hour, "label": label} | asdict(episode) for hour, episode, label in score.false_alarms
        ],
        "bouts": [dict(judged.bout) | {"found": judged.found, "delay_s": judged.delay_s}
                  for judged in score.judged],
    }  # fmt: skip


def _share(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _percent(interval: Interval) -> str:
    return f"{interval.value:.2%} [{interval.low:.2%}, {interval.high:.2%}]"
