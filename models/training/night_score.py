"""Results over synthetic nights: pure functions from what was heard and what was true to figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.training import metrics
from models.training.metrics import (
    Bout,
    CollarCounts,
    Episode,
    Interval,
    LabelAlarms,
    LabelledSound,
    NightMinutes,
)
from monitor.errors import ConfigError

SNR_BANDS_DB: Final = ((-10.0, 5.0), (5.0, 10.0), (10.0, 15.0), (15.0, 20.0), (20.0, 60.0))
CLIPPED_SHARE: Final = 1e-5
"""From this share of samples on, an hour counts as clipped."""
RT60_BANDS_S: Final = ((0.0, 0.25), (0.25, 0.35), (0.35, 0.45), (0.45, 9.0))
NIGHT_H: Final = 10
NAMED_SOUNDS: Final = {
    "baby_laugh": "baby laugh",
    "cat": "cat",
    "singing": "singing",
    "laugh": "laugh (adults, some babies)",
    "speech": "speech, TV talk",
    "radio": "radio",
    "music": "music",
    "siren": "siren",
}
"""Labels that are reported by name, whether or not a split has them."""

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour's truth."""

    name: str
    about: Event
    bouts: tuple[Event, ...]
    distractors: tuple[Event, ...]

    @property
    def hours(self) -> float:
        return float(self.about["duration_s"]) / 3600.0

    def spans(self) -> list[Bout]:
        return [Bout(bout["onset_s"], bout["offset_s"]) for bout in self.bouts]

    def sounds(self) -> list[LabelledSound]:
        return [LabelledSound(d["label"], d["onset_s"], d["offset_s"]) for d in self.distractors]


def read_hour(truth: Path) -> Hour:
    """Read one ``hour-000.jsonl``; its name says the set it belongs to."""
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    return Hour(
        name=f"{truth.parent.name}/{truth.stem}",
        about=lines[0],
        bouts=tuple(line for line in lines if line["type"] == "bout"),
        distractors=tuple(line for line in lines if line["type"] == "distractor"),
    )


def hour_files(folder: Path) -> list[Path]:
    """The audio files of a finished set of nights, in order. Raises ConfigError for anything else."""
    about = folder / "nights.json"
    if not about.is_file():
        raise ConfigError(
            f"{str(folder)!r} holds no finished nights (nights.json).",
            "Make them with python -m models.training.nights.",
        )
    return [folder / f"{name}.flac" for name in json.loads(about.read_text())["hours"]]


@dataclass(frozen=True, slots=True)
class SystemHour:
    """What one system said in one hour."""

    episodes: Sequence[Episode]
    crying_s: float
    cpu_s_per_hour: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One bout and how a system took it."""

    hour: Event
    bout: Event
    found: bool
    delay_s: float | None


@dataclass(frozen=True, slots=True)
class SystemScore:
    """One system over all hours."""

    name: str
    judged: tuple[Judged, ...]
    false_alarms: tuple[tuple[str, Episode, str], ...]
    """Hour, episode and the label of the sound that raised it."""
    hours: float
    minutes_error: float
    """Reported minus true minutes of crying per hour."""
    cpu_s_per_hour: float
    minutes_a_night: NightMinutes
    """From the hours with crying."""
    collars: CollarCounts
    labels: Mapping[str, LabelAlarms]
    """False alarms by the sound that raised them, for every label that was played."""

    def clear(self) -> list[Judged]:
        """The bouts that are surely crying; a doubtful one is neither a hit nor a miss."""
        return [judged for judged in self.judged if not judged.bout["doubtful"]]

    def recall(self, where: Callable[[Judged], bool] = lambda _: True) -> tuple[Interval, int]:
        """Share of clear bouts found, and how many there were."""
        return _share([judged for judged in self.clear() if where(judged)])

    def recall_all(self) -> tuple[Interval, int]:
        """The same with the doubtful bouts."""
        return _share(self.judged)

    def alarms_per_hour(self) -> Interval:
        return metrics.poisson_rate(len(self.false_alarms), self.hours)

    def delay_s(self, q: float) -> float:
        return metrics.percentile((judged.delay_s for judged in self.clear()), q)

    def without_delay(self) -> int:
        """Clear bouts found by an episode that was open already."""
        return sum(judged.found and judged.delay_s is None for judged in self.clear())


def _share(judged: Sequence[Judged]) -> tuple[Interval, int]:
    return metrics.wilson(sum(one.found for one in judged), len(judged)), len(judged)


def score_system(name: str, hours: Sequence[Hour], said: Sequence[SystemHour]) -> SystemScore:
    """Lay what a system said beside the truth, hour by hour."""
    judged: list[Judged] = []
    alarms: list[tuple[str, Episode, str]] = []
    labels: dict[str, LabelAlarms] = {}
    collars = CollarCounts(0, 0, 0)
    for hour, system in zip(hours, said, strict=True):
        matching = metrics.match_episodes(hour.spans(), system.episodes)
        judged += [
            Judged(hour.about, bout, found, delay)
            for bout, found, delay in zip(hour.bouts, matching.found, matching.delays_s, strict=True)
        ]
        for number in matching.false_alarms:
            episode = system.episodes[number]
            alarms.append((hour.name, episode, metrics.alarm_label(episode, hour.sounds())))
        raised = [system.episodes[number] for number in matching.false_alarms]
        for label, more in metrics.alarms_by_label(raised, hour.sounds()).items():
            labels[label] = labels.get(label, LabelAlarms(0, 0, 0.0)) + more
        collars += metrics.collar_counts(hour.spans(), system.episodes)
    total = sum(hour.hours for hour in hours)
    true_s = [sum(bout["crying_s"] for bout in hour.bouts) for hour in hours]
    reported_s = [system.crying_s for system in said]
    return SystemScore(
        name=name,
        judged=tuple(judged),
        false_alarms=tuple(alarms),
        hours=total,
        minutes_error=metrics.crying_minutes_error(sum(true_s), sum(reported_s), total),
        cpu_s_per_hour=sum(s.cpu_s_per_hour * h.hours for s, h in zip(said, hours, strict=True)) / total,
        minutes_a_night=_minutes_a_night(hours, true_s, reported_s),
        collars=collars,
        labels=labels,
    )


def _minutes_a_night(
    hours: Sequence[Hour], true_s: Sequence[float], reported_s: Sequence[float]
) -> NightMinutes:
    own = [k for k, hour in enumerate(hours) if hour.bouts]
    return metrics.minutes_a_night(
        [(reported_s[k] - true_s[k]) / 60.0 / hours[k].hours for k in own],
        [true_s[k] / 60.0 / hours[k].hours for k in own],
        np.random.default_rng(0),
        hours=NIGHT_H,
    )


def strata(
    score: SystemScore, rt60_s: Mapping[str, float | None] | None = None
) -> dict[str, dict[str, Callable[[Judged], bool]]]:
    """The ways in which recall is broken down: for each, its classes and who belongs to them.

    ``rt60_s``: reverberation time by room; without it rooms are told by name.
    """
    widths = sorted({judged.hour["bandwidth_hz"] for judged in score.judged}, key=lambda hz: hz or 1e9)
    return {
        "SNR": {f"{low:.0f} to {high:.0f} dB": _in_band(low, high) for low, high in SNR_BANDS_DB},
        "bandwidth": {f"{hz:.0f} Hz" if hz else "full": _with_width(hz) for hz in widths},
        "room": _rooms(score, rt60_s),
        "microphone": {"clipped": _clipped, "clean": lambda judged: not _clipped(judged)},
    }


def _rooms(
    score: SystemScore, rt60_s: Mapping[str, float | None] | None
) -> dict[str, Callable[[Judged], bool]]:
    if rt60_s is None:
        return {room: _in_room({room}) for room in sorted({judged.bout["room"] for judged in score.judged})}
    bands = {
        f"RT60 {low:.2f} to {high:.2f} s" if high < 9.0 else f"RT60 over {low:.2f} s": {
            room for room, rt60 in rt60_s.items() if rt60 is not None and low <= rt60 < high
        }
        for low, high in RT60_BANDS_S
    }
    bands["measured room, RT60 not stated"] = {room for room, rt60 in rt60_s.items() if rt60 is None}
    return {name: _in_room(rooms) for name, rooms in bands.items()}


def _in_band(low: float, high: float) -> Callable[[Judged], bool]:
    return lambda judged: low <= judged.bout["snr_db"] < high


def _with_width(hz: float | None) -> Callable[[Judged], bool]:
    return lambda judged: judged.hour["bandwidth_hz"] == hz


def _in_room(rooms: set[str]) -> Callable[[Judged], bool]:
    return lambda judged: judged.bout["room"] in rooms


def _clipped(judged: Judged) -> bool:
    return bool(judged.hour["clipped_share"] >= CLIPPED_SHARE)
