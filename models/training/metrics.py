"""The figures a baby monitor is judged by. Pure functions; times in seconds since the recording began."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

EARLY_S: Final = 0.5
"""An episode may begin this long before the bout: the truth's first frame is a judgement too."""
LATE_S: Final = 2.0
"""And this long after its end, which is what smoothing and a last window take."""
Z95: Final = 1.959964

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bout:
    """Crying as it was: first and last audible frame."""

    onset_s: float
    offset_s: float


@dataclass(frozen=True, slots=True)
class Episode:
    """Crying as it was reported: where it was said to begin, when that was known, where it ended."""

    onset_s: float
    detected_s: float
    offset_s: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Matching:
    """Episodes laid beside bouts.

    ``found`` and ``delays_s`` have one entry a bout. A delay is None for a bout that was missed and for
    one during which an episode begun before it was still open: nothing was raised for it.
    """

    found: tuple[bool, ...]
    delays_s: tuple[float | None, ...]
    false_alarms: tuple[int, ...]
    """Indices of the episodes that overlap no bout."""


def match_episodes(bouts: Sequence[Bout], episodes: Sequence[Episode]) -> Matching:
    """A bout is found when an episode overlaps it, give or take EARLY_S and LATE_S.

    Several episodes in one bout count once; an episode that overlaps no bout is a false alarm.
    """
    overlaps = [
        [
            number
            for number, episode in enumerate(episodes)
            if episode.offset_s >= bout.onset_s - EARLY_S and episode.onset_s <= bout.offset_s + LATE_S
        ]
        for bout in bouts
    ]
    true = {number for own in overlaps for number in own}
    return Matching(
        found=tuple(bool(own) for own in overlaps),
        delays_s=tuple(
            _delay(bout, [episodes[number] for number in own])
            for bout, own in zip(bouts, overlaps, strict=True)
        ),
        false_alarms=tuple(number for number in range(len(episodes)) if number not in true),
    )


def _delay(bout: Bout, episodes: Sequence[Episode]) -> float | None:
    raised = [episode.detected_s for episode in episodes]
    if not raised or min(raised) < bout.onset_s - EARLY_S:
        return None
    return min(raised) - bout.onset_s


def wilson(successes: int, trials: int, z: float = Z95) -> Interval:
    """A share with Wilson's score interval; without trials nothing is known: nan in [0, 1]."""
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    share = successes / trials
    scale = 1.0 + z * z / trials
    centre = (share + z * z / (2.0 * trials)) / scale
    half = z / scale * math.sqrt(share * (1.0 - share) / trials + z * z / (4.0 * trials * trials))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return Interval(share, low, high)


def poisson_rate(count: int, hours: float, confidence: float = 0.95) -> Interval:
    """Events per hour with the exact (Garwood) interval of a Poisson count."""
    if hours <= 0.0:
        return Interval(math.nan, 0.0, math.inf)
    tail = (1.0 - confidence) / 2.0
    # The lower end makes so many or more just unlikely enough, the upper end so many or fewer.
    low = 0.0 if count == 0 else _mean_where(lambda mean: poisson_cdf(count - 1, mean), 1.0 - tail, count)
    high = _mean_where(lambda mean: poisson_cdf(count, mean), tail, count)
    return Interval(count / hours, low / hours, high / hours)


def poisson_cdf(k: int, mean: float) -> float:
    """P(X <= k) of a Poisson variable."""
    if mean <= 0.0:
        return 1.0
    terms = np.arange(k + 1) * math.log(mean) - mean - _log_factorials(k)
    return min(1.0, float(np.exp(terms).sum()))


@lru_cache(maxsize=256)
def _log_factorials(k: int) -> NDArray[np.float64]:
    """Of 0 to k."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1.0, k + 1.0)))))


def _mean_where(cdf: Callable[[float], float], target: float, count: int) -> float:
    """Bisection: the CDF falls as the mean rises."""
    low, high = 0.0, count + 10.0 * math.sqrt(count + 1.0) + 10.0
    for _ in range(100):
        middle = (low + high) / 2.0
        if cdf(middle) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def percentile(values: Iterable[float | None], q: float) -> float:
    """A percentile of what is known; nan when nothing is."""
    known = [value for value in values if value is not None]
    return float(np.percentile(known, q)) if known else math.nan


def roc_auc(scores: Scores, labels: Labels) -> float:
    """Chance that a positive scores above a negative; ties count half. nan if one class is missing."""
    n_positive = int(labels.sum())
    n_negative = len(labels) - n_positive
    if n_positive == 0 or n_negative == 0:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = float(mean_rank[inverse][labels].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative)


def average_precision(scores: Scores, labels: Labels) -> float:
    """Area under the precision-recall steps; equal scores form one step. nan without positives."""
    n_positive = int(labels.sum())
    if n_positive == 0:
        return math.nan
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0.0, True)
    hits = np.cumsum(labels[order])[last_of_tie]
    taken = np.flatnonzero(last_of_tie) + 1
    gained = np.diff(np.concatenate(([0], hits)))
    return float(np.sum(gained / n_positive * hits / taken))


def bootstrap(
    metric: Callable[[Scores, Labels], float],
    scores: Scores,
    labels: Labels,
    rng: np.random.Generator,
    *,
    groups: Sequence[str] | None = None,
    draws: int = 1000,
) -> Interval:
    """A metric with its percentile interval over resampled clips, or whole groups where they are given.

    Draws without one of the classes are left out.
    """
    names = (
        np.arange(len(scores)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    )
    members = [np.flatnonzero(names == name) for name in range(int(names.max()) + 1)]
    values = []
    for _ in range(draws):
        chosen = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        values.append(metric(scores[chosen], labels[chosen]))
    known = [value for value in values if not math.isnan(value)]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (math.nan, math.nan)
    return Interval(metric(scores, labels), float(low), float(high))


def crying_minutes_error(true_s: float, reported_s: float, hours: float) -> float:
    """Minutes of crying reported too many (or, negative, too few) per hour of audio."""
    return (reported_s - true_s) / 60.0 / hours


@dataclass(frozen=True, slots=True)
class NightMinutes:
    """Reported minus true minutes of crying in a whole night."""

    true_min: float
    bias_min: float
    error_p50_min: float
    error_p95_min: float
    """Percentiles of the error's size."""


def minutes_a_night(
    errors_min: Sequence[float],
    true_min: Sequence[float],
    rng: np.random.Generator,
    *,
    hours: int = 10,
    draws: int = 4000,
) -> NightMinutes:
    """Nights of ``hours`` drawn from single hours, each hour's error and truth given."""
    if not errors_min:
        return NightMinutes(math.nan, math.nan, math.nan, math.nan)
    nights = np.asarray(errors_min)[rng.integers(len(errors_min), size=(draws, hours))].sum(axis=1)
    return NightMinutes(
        true_min=float(np.mean(true_min)) * hours,
        bias_min=float(np.mean(errors_min)) * hours,
        error_p50_min=float(np.percentile(np.abs(nights), 50.0)),
        error_p95_min=float(np.percentile(np.abs(nights), 95.0)),
    )


ONSET_COLLAR_S: Final = 1.0
OFFSET_COLLAR_S: Final = 1.0
OFFSET_COLLAR_SHARE: Final = 0.2
"""Of the bout's length, where that is more: what DESED allows, with collars four hops wide."""


@dataclass(frozen=True, slots=True)
class CollarCounts:
    """Episodes that agree with a bout in onset and offset, one to one."""

    hits: int
    bouts: int
    episodes: int

    def __add__(self, other: CollarCounts) -> CollarCounts:
        return CollarCounts(self.hits + other.hits, self.bouts + other.bouts, self.episodes + other.episodes)

    def f1(self) -> float:
        """Nan when there was nothing to find and nothing was said."""
        both = self.bouts + self.episodes
        return 2.0 * self.hits / both if both else math.nan


def collar_counts(bouts: Sequence[Bout], episodes: Sequence[Episode]) -> CollarCounts:
    """Each bout takes the first episode not yet taken whose onset and offset lie within the collars."""
    free = list(episodes)
    hits = 0
    for bout in bouts:
        offset_collar = max(OFFSET_COLLAR_S, OFFSET_COLLAR_SHARE * (bout.offset_s - bout.onset_s))
        for episode in free:
            if (
                abs(episode.onset_s - bout.onset_s) <= ONSET_COLLAR_S
                and abs(episode.offset_s - bout.offset_s) <= offset_collar
            ):
                free.remove(episode)
                hits += 1
                break
    return CollarCounts(hits, len(bouts), len(episodes))


@dataclass(frozen=True, slots=True)
class LabelledSound:
    """A distractor as it was played."""

    label: str
    onset_s: float
    offset_s: float


@dataclass(frozen=True, slots=True)
class LabelAlarms:
    """False alarms that one kind of sound caused, and how much of it there was."""

    alarms: int
    sounds: int
    exposure_s: float

    def __add__(self, other: LabelAlarms) -> LabelAlarms:
        return LabelAlarms(
            self.alarms + other.alarms, self.sounds + other.sounds, self.exposure_s + other.exposure_s
        )

    def per_hour_of_exposure(self) -> Interval:
        """False alarms per hour in which the sound was heard."""
        return poisson_rate(self.alarms, self.exposure_s / 3600.0)


BACKGROUND: Final = "background"
"""The label of a false alarm while nothing but the background was heard."""


def alarm_label(episode: Episode, sounds: Sequence[LabelledSound]) -> str:
    """The label of the sound that a false alarm overlaps longest, up to the moment it was raised."""
    best, longest = BACKGROUND, 0.0
    for sound in sounds:
        # An episode may end long after what raised it, so only the time until its detection counts.
        overlap = min(episode.detected_s, sound.offset_s) - max(episode.onset_s - EARLY_S, sound.onset_s)
        if overlap > longest:
            best, longest = sound.label, overlap
    return best


def alarms_by_label(
    false_alarms: Sequence[Episode], sounds: Sequence[LabelledSound]
) -> dict[str, LabelAlarms]:
    """Counts for every label that was played, and for the bare background."""
    alarms = Counter(alarm_label(episode, sounds) for episode in false_alarms)
    played = Counter(sound.label for sound in sounds)
    return {
        label: LabelAlarms(
            alarms=alarms[label],
            sounds=played[label],
            exposure_s=sum(s.offset_s - s.onset_s for s in sounds if s.label == label),
        )
        for label in sorted({*alarms, *played})
    }
