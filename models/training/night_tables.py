"""The tables that a person reads after an evaluation on nights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from models.training import night_curves, night_score
from models.training.metrics import Interval, LabelAlarms
from models.training.night_curves import Point
from models.training.night_score import NAMED_SOUNDS, NIGHT_H, SystemScore


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    return table


def summary(scores: Sequence[SystemScore]) -> Table:
    """One line a system and rule."""
    columns = (
        "system", "bouts found", "with doubtful", "false alarms/h", "delay p50 / p95", "already on",
        "crying min/h", "collar F1", "CPU s/h",
    )  # fmt: skip
    table = _table(f"{scores[0].hours:.0f} h of synthetic nights; 95 % intervals", columns)
    for score in scores:
        recall, n = score.recall()
        every, n_every = score.recall_all()
        table.add_row(
            score.name,
            f"{share(recall)} of {n}",
            f"{every.value:.2f} of {n_every}",
            share(score.alarms_per_hour()),
            f"{score.delay_s(50.0):.1f} / {score.delay_s(95.0):.1f} s",
            str(score.without_delay()),
            f"{score.minutes_error:+.2f}",
            f"{score.collars.f1():.2f}",
            f"{score.cpu_s_per_hour:.2f}",
        )
    return table


def minutes(scores: Sequence[SystemScore]) -> Table:
    """Error of the minutes of crying in a whole night."""
    truth = scores[0].minutes_a_night.true_min
    table = _table(
        f"minutes of crying in {NIGHT_H} h, {truth:.1f} in truth; nights drawn from hours with bouts",
        ("system", "bias", "|error| p50", "|error| p95"),
    )
    for score in scores:
        night = score.minutes_a_night
        table.add_row(
            score.name,
            f"{night.bias_min:+.1f}",
            f"{night.error_p50_min:.1f}",
            f"{night.error_p95_min:.1f}",
        )
    return table


def recalls(scores: Sequence[SystemScore], rt60_s: Mapping[str, float | None] | None) -> list[Table]:
    """Recall by SNR, bandwidth, room and microphone."""
    tables = []
    for by, classes in night_score.strata(scores[0], rt60_s).items():
        table = _table(f"bouts found by {by}", (by, "bouts", *(score.name for score in scores)))
        for name, where in classes.items():
            n = scores[0].recall(where)[1]
            if n:
                table.add_row(name, str(n), *(share(score.recall(where)[0]) for score in scores))
        tables.append(table)
    return tables


def named_sounds(scores: Sequence[SystemScore], exposure: Mapping[str, LabelAlarms]) -> Table:
    """False alarms per hour of exposure to the sounds that a nursery hears most and confuses most."""
    table = _table(
        "false alarms per hour of exposure to a sound",
        ("sound", "played", "hours", *(score.name for score in scores)),
    )
    for label, name in NAMED_SOUNDS.items():
        if label not in exposure:
            table.add_row(name, "0", "-", *("no recording in this split" for _ in scores))
            continue
        cells = [_rate(score.labels[label]) for score in scores]
        own = exposure[label]
        table.add_row(name, str(own.sounds), f"{own.exposure_s / 3600.0:.2f}", *cells)
    return table


def _rate(alarms: LabelAlarms) -> str:
    rate = alarms.per_hour_of_exposure()
    return f"{alarms.alarms}: {rate.value:.1f} [{rate.low:.1f}, {rate.high:.1f}]"


def other_sounds(scores: Sequence[SystemScore]) -> Table:
    """Every further label that raised a false alarm, with counts."""
    names = ("sound", "played", "minutes", *(score.name for score in scores))
    table = _table("false alarms by the sound that raised them, the other sounds", names)
    for label in sorted({label for score in scores for label in score.labels} - set(NAMED_SOUNDS)):
        each = [score.labels.get(label, LabelAlarms(0, 0, 0.0)) for score in scores]
        if any(one.alarms for one in each):
            first = max(each, key=lambda one: one.exposure_s)
            cells = [str(one.alarms) if one.alarms else "" for one in each]
            table.add_row(label, str(first.sounds), f"{first.exposure_s / 60.0:.1f}", *cells)
    return table


def at_limits(curves: Mapping[str, Sequence[Point]]) -> Table:
    """Recall at fixed false alarms an hour, by network."""
    table = _table(
        "bouts found at a free threshold, chosen on these nights: what the scores allow at best",
        ("scores", *(f"at {limit:g} false alarms/h" for limit in night_curves.LIMITS_PER_HOUR)),
    )
    for name, points in curves.items():
        table.add_row(
            name,
            *(_point(night_curves.best_within(points, limit)) for limit in night_curves.LIMITS_PER_HOUR),
        )
    return table


def transferred(curves: Mapping[str, Sequence[Point]], chosen: Mapping[str, Mapping[str, Any]]) -> Table:
    """What thresholds chosen on other nights do here."""
    table = _table(
        "the same with thresholds chosen on other nights: false alarms an hour as they came out here",
        ("scores", *(f"meant for {limit:g}/h" for limit in night_curves.LIMITS_PER_HOUR)),
    )
    for name, points in curves.items():
        cells = []
        for limit in night_curves.LIMITS_PER_HOUR:
            there = chosen.get(name, {}).get(f"{limit:g}")
            if there is None:
                cells.append("-")
                continue
            here = night_curves.at_threshold(points, there["threshold"])
            cells.append(f"{share(here.recall)} at {share(here.alarms_per_hour)}/h")
        table.add_row(name, *cells)
    return table


def _point(point: Point | None) -> str:
    if point is None:
        return "none"
    return f"{share(point.recall)} (> {point.threshold:.3f}, {point.delay_p50_s:.1f} s)"


def detection_scores(psds: Mapping[str, Mapping[str, float]]) -> Table:
    """PSDS by network."""
    limits = next(iter(psds.values()))
    table = _table("PSDS, dtc = gtc = 0.1, false alarms an hour", ("scores", *limits))
    for name, own in psds.items():
        table.add_row(name, *(f"{value:.3f}" for value in own.values()))
    return table


def share(interval: Interval) -> str:
    """A figure and its interval."""
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def as_json(score: SystemScore, rt60_s: Mapping[str, float | None] | None) -> dict[str, Any]:
    """Every figure of one system and rule."""
    recall, n = score.recall()
    return {
        "name": score.name,
        "recall": asdict(recall) | {"bouts": n},
        "recall_with_doubtful": asdict(score.recall_all()[0]) | {"bouts": score.recall_all()[1]},
        "false_alarms_per_hour": asdict(score.alarms_per_hour()) | {"count": len(score.false_alarms)},
        "delay_s": {"p50": score.delay_s(50.0), "p95": score.delay_s(95.0)},
        "already_on": score.without_delay(),
        "crying_minutes_error_per_hour": score.minutes_error,
        "crying_minutes_a_night": asdict(score.minutes_a_night) | {"hours": NIGHT_H},
        "collar_f1": score.collars.f1(),
        "cpu_s_per_hour": score.cpu_s_per_hour,
        "recall_by": {
            by: {name: asdict(score.recall(where)[0]) | {"bouts": score.recall(where)[1]}
                 for name, where in classes.items()}
            for by, classes in night_score.strata(score, rt60_s).items()
        },
        "false_alarms_by_label": {
            label: asdict(own) | {"per_hour_of_exposure": asdict(own.per_hour_of_exposure())}
            for label, own in sorted(score.labels.items())
        },
        "false_alarms": [
            {"hour": hour, "label": label} | asdict(episode) for hour, episode, label in score.false_alarms
        ],
        "bouts": [dict(judged.bout) | {"found": judged.found, "delay_s": judged.delay_s}
                  for judged in score.judged],
    }  # fmt: skip


def curve_json(points: Sequence[Point]) -> dict[str, Any]:
    """The whole curve, and the points at the limits."""
    at = {f"{limit:g}": night_curves.best_within(points, limit) for limit in night_curves.LIMITS_PER_HOUR}
    return {
        "at": {limit: None if point is None else asdict(point) for limit, point in at.items()},
        "points": [asdict(point) for point in points],
    }
