"""A baby's cries confirmed one by one, as the runtime would learn them: what was said before each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training.cause_questions import base_rates
from models.training.grouped import permute_within_groups
from monitor.detect.personal import CAUSES, PersonalHead
from monitor.detect.personal_prior import PersonalPrior

ORDERS: Final = 12
"""Orders of a baby's cries, at least; every cry comes at every place equally often."""
AXES: Final = (4, 8, 16)
CAUSE_VARIANCES: Final = (0.1, 0.3, 1.0)
PRIOR_COUNTS: Final = (1.0, 2.0, 4.0, 8.0)
SOUND_WEIGHTS: Final = (0.0, 0.03, 0.1, 0.3, 1.0)

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]


def fit_prior(
    embedding: str, vectors: NDArray[np.float32], cause: Labels, groups: NDArray[np.str_], k: int
) -> PersonalPrior:
    """The axes of a population's cries, without the numbers that :func:`choose` chooses.

    Principal axes, then turned and scaled so that one baby's cries of one cause have unit variance.
    """
    x = vectors.astype(np.float64)
    mean = x.mean(axis=0)
    _, _, axes = np.linalg.svd(x - mean, full_matrices=False)
    y = (x - mean) @ axes[:k].T
    cell = np.unique([f"{g} {c}" for g, c in zip(groups, cause, strict=True)], return_inverse=True)[1]
    means = np.stack([np.bincount(cell, column) for column in y.T], axis=1) / np.bincount(cell)[:, None]
    apart = y - means[cell]
    within = apart.T @ apart / max(1, len(y) - len(means))
    values, vectors_within = np.linalg.eigh(0.9 * within + 0.1 * np.eye(k) * np.trace(within) / k)
    turn = axes[:k].T @ vectors_within / np.sqrt(values)
    z = (x - mean) @ turn
    return PersonalPrior(
        embedding=embedding,
        mean=mean,
        axes=turn,
        base_rates=base_rates(cause, len(CAUSES)),
        radius=float(np.percentile(np.linalg.norm(z, axis=1), 99)),
        baby_variance=max(0.0, float(z.var(axis=0).mean()) - 1.0),
        cause_variance=1.0,
        prior_count=1.0,
        sound_weight=0.0,
    )


def orders(n: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Random orders of ``n`` cries with all their rotations."""
    for _ in range(-(-ORDERS // n)):
        order = rng.permutation(n)
        for shift in range(n):
            yield np.roll(order, shift)


@dataclass(frozen=True)
class Told:
    """One baby's cries in many orders.

    ``cry`` int64 (orders, n): which came when; ``evidence`` and ``counts`` (orders, n, n_causes): what
    was known before it came.
    """

    cause: Labels
    cry: NDArray[np.int64]
    evidence: Numbers
    counts: Numbers

    def posteriors(self, rates: Numbers, prior_count: float, sound_weight: float) -> Numbers:
        """What the runtime answers to each cry, (orders, n, n_causes)."""
        pseudo = prior_count * rates + self.counts
        log_p = np.log(pseudo / pseudo.sum(axis=2, keepdims=True)) + sound_weight * self.evidence
        p = np.exp(log_p - log_p.max(axis=2, keepdims=True))
        return p / p.sum(axis=2, keepdims=True)


def tell(prior: PersonalPrior, vectors: NDArray[np.float32], cause: Labels, rng: np.random.Generator) -> Told:
    """Confirm the cries of one baby in many orders, through the runtime's own head."""
    every, evidence, counts = [], [], []
    for order in orders(len(cause), rng):
        head = PersonalHead(prior)
        every.append(order)
        evidence.append([])
        counts.append([])
        for cry in order:
            evidence[-1].append(head.evidence(vectors[cry]))
            counts[-1].append(list(head.confirmed.values()))
            head.update(vectors[cry], CAUSES[cause[cry]])
    return Told(cause, np.array(every), np.array(evidence), np.array(counts, np.float64))


@dataclass(frozen=True, order=True)
class Choice:
    """What is chosen on other babies."""

    k: int
    cause_variance: float
    prior_count: float
    sound_weight: float

    def of(self, prior: PersonalPrior) -> PersonalPrior:
        return replace(
            prior,
            cause_variance=self.cause_variance,
            prior_count=self.prior_count,
            sound_weight=self.sound_weight,
        )


@dataclass(frozen=True)
class Baby:
    """One baby told under every choice: ``rooms`` by (k, cause variance)."""

    name: str
    split: str
    rates: Numbers
    rooms: dict[tuple[int, float], Told]

    def told(self, choice: Choice) -> Told:
        return self.rooms[choice.k, choice.cause_variance]

    def posteriors(self, choice: Choice) -> Numbers:
        return self.told(choice).posteriors(self.rates, choice.prior_count, choice.sound_weight)

    def loss(self, choice: Choice) -> float:
        """Mean log-loss of the cries behind the first."""
        told = self.told(choice)
        p = self.posteriors(choice)
        own = np.take_along_axis(p, told.cause[told.cry][:, :, None], axis=2)[:, 1:, 0]
        return float(-np.log(own).mean())


def every_choice(sound_weights: Sequence[float] = SOUND_WEIGHTS) -> list[Choice]:
    return [
        Choice(k, variance, count, weight)
        for k in AXES
        for variance in CAUSE_VARIANCES
        for count in PRIOR_COUNTS
        for weight in sound_weights
    ]


def losses(babies: Sequence[Baby], choices: Sequence[Choice]) -> Numbers:
    """(babies, choices)."""
    return np.array([[baby.loss(choice) for choice in choices] for baby in babies])


def choose(babies: Sequence[Baby], lost: Numbers, choices: Sequence[Choice]) -> list[Choice]:
    """For each baby the choice of least mean loss on the training babies other than itself."""
    taught = np.array([baby.split == "train" for baby in babies])
    return [
        choices[int(lost[taught & (np.arange(len(babies)) != own)].mean(axis=0).argmin())]
        for own in range(len(babies))
    ]


def scatter(z: Numbers, cause: Labels, baby: Labels) -> float:
    """Scatter of causes within babies: squared distances of each baby's cause means from its own mean."""
    return _between(z, baby * len(CAUSES) + cause) - _between(z, baby)


def _between(z: Numbers, cell: Labels) -> float:
    n = np.bincount(cell)
    sums = np.stack([np.bincount(cell, column) for column in z.T], axis=1)
    return float((np.square(sums).sum(axis=1)[n > 0] / n[n > 0]).sum())


def scatter_p(
    z: Numbers, cause: Labels, groups: NDArray[np.str_], draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Scatter over its mean under labels permuted within each baby, and the chance of so much or more."""
    baby = np.unique(groups, return_inverse=True)[1]
    observed = scatter(z, cause, baby)
    permuted = np.array([scatter(z, permute_within_groups(cause, groups, rng), baby) for _ in range(draws)])
    # Sums in another order differ in the last digits; equal arrangements must count as equal.
    as_much = permuted >= observed * (1.0 - 1e-9)
    return observed / float(permuted.mean()), float((1 + int(as_much.sum())) / (1 + draws))
