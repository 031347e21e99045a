"""What may be asked of a cry, and how one question is answered: cross-validated by baby, beside chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.training import cause_metrics as worth
from models.training import probe
from models.training.cause import LABELS, choose_temperature, posterior
from models.training.corpus import Clip
from models.training.grouped import permute_between_groups, stratified_group_folds
from models.training.metrics import Interval

N_FOLDS: Final = 5
INNER_FOLDS: Final = 4
DRAWS: Final = 500
PERMUTED_REPEATS: Final = 2
"""Sets of folds a permutation is scored with. More would narrow chance a little, at so much more time."""
PRIMARY: Final = "mean, logistic"
"""Named beforehand as the one whose calibration is looked at: the plainest there is."""

AGES: Final = {"0-4w": 0, "4-8w": 1, "2-6m": 2, "7m-2y": 3, "2y+": 3}


@dataclass(frozen=True)
class Question:
    """``of``: the class of a clip, or None where it has no answer."""

    name: str
    classes: tuple[str, ...]
    of: Callable[[Clip], int | None]


def _one_against_rest(*causes: str) -> Callable[[Clip], int | None]:
    return lambda clip: None if clip.cause5 is None else int(clip.cause5 in causes)


def _cause(clip: Clip) -> int | None:
    return None if clip.cause5 is None else LABELS.index(clip.cause5)


def _heard_cause(clip: Clip) -> int | None:
    return _cause(clip) if (clip.mn04_cry or 0.0) >= 0.05 else None


QUESTIONS: Final = (
    Question("cause", tuple(LABELS), _cause),
    Question("cause, where mn04 hears a cry", tuple(LABELS), _heard_cause),
    Question(
        "pain-like", ("rest", "belly pain or discomfort"), _one_against_rest("belly_pain", "discomfort")
    ),
    Question("hungry", ("rest", "hungry"), _one_against_rest("hungry")),
    Question("tired", ("rest", "tired"), _one_against_rest("tired")),
    Question("age", ("0-4 w", "4-8 w", "2-6 m", "7 m and more"), lambda clip: AGES.get(clip.age or "")),
    Question("sex", ("f", "m"), lambda clip: {"f": 0, "m": 1}.get(clip.sex or "")),
)


@dataclass(frozen=True)
class Pipeline:
    """Vectors of all clips, and the head that learns from them."""

    vectors: probe.Vectors
    head: probe.Head
    at_once: int = probe.AT_ONCE


@dataclass(frozen=True)
class Asked:
    """One question's clips: indices into the study's, their labels and babies."""

    question: Question
    index: NDArray[np.int64]
    label: NDArray[np.int64]
    groups: NDArray[np.str_]

    @classmethod
    def of(cls, question: Question, clips: Sequence[Clip]) -> Asked:
        answers = [question.of(clip) for clip in clips]
        index = np.array([i for i, answer in enumerate(answers) if answer is not None])
        label = np.array([answer for answer in answers if answer is not None])
        return cls(question, index, label, np.array([clips[i].group for i in index]))

    @property
    def n_classes(self) -> int:
        return len(self.question.classes)

    def folds(self, labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        return stratified_group_folds(labels, self.groups, N_FOLDS, rng)

    def evidence(
        self, pipeline: Pipeline, labels: NDArray[np.int64], folds: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(sets, n, n_classes) for ``labels`` and ``folds`` (sets, n), by heads that know other babies."""
        vectors = pipeline.vectors[self.index]
        return probe.out_of_fold(
            pipeline.head, vectors, labels, folds, self.n_classes, at_once=pipeline.at_once
        )


def balanced(evidence: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Balanced accuracy of each set, (sets,); ``labels`` (sets, n)."""
    return np.array(
        [
            worth.recalls((e.argmax(axis=1) == y).astype(float), y).mean()
            for e, y in zip(evidence, labels, strict=True)
        ]
    )


@dataclass(frozen=True)
class Deal:
    """Labels dealt anew between babies, each deal with folds of its own: (sets, n) each."""

    labels: NDArray[np.int64]
    folds: NDArray[np.int64]


def deal(asked: Asked, permutations: int, rng: np.random.Generator) -> Deal:
    """PERMUTED_REPEATS sets in a row for each permutation."""
    labels, folds = [], []
    for _ in range(permutations):
        permuted = permute_between_groups(asked.label, asked.groups, rng)
        for _ in range(PERMUTED_REPEATS):
            labels.append(permuted)
            folds.append(asked.folds(permuted, rng))
    return Deal(np.array(labels), np.array(folds))


def chance(asked: Asked, pipeline: Pipeline, dealt: Deal) -> NDArray[np.float64]:
    """Balanced accuracy of each permutation, (permutations,)."""
    scores = balanced(asked.evidence(pipeline, dealt.labels, dealt.folds), dealt.labels)
    return scores.reshape(-1, PERMUTED_REPEATS).mean(axis=1)


def calibrated(
    asked: Asked, pipeline: Pipeline, folds: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posteriors (repeats, n, n_classes), and the base rates that each was given with, likewise.

    Temperature and base rates of a fold come from the other folds alone, the temperature from a cross-
    validation within them.
    """
    repeats = np.tile(asked.label, (len(folds), 1))
    outer = asked.evidence(pipeline, repeats, folds)
    inner = np.full((len(folds), N_FOLDS, len(asked.label)), -1)
    for r, k in np.ndindex(len(folds), N_FOLDS):
        taught = folds[r] != k
        inner[r, k, taught] = stratified_group_folds(
            asked.label[taught], asked.groups[taught], INNER_FOLDS, rng
        )
    flat = inner.reshape(-1, len(asked.label))
    within = asked.evidence(pipeline, np.tile(asked.label, (len(flat), 1)), flat)
    within = within.reshape(*inner.shape, asked.n_classes)
    answer, rates = np.zeros_like(outer), np.zeros_like(outer)
    for r, k in np.ndindex(len(folds), N_FOLDS):
        taught, held_out = folds[r] != k, folds[r] == k
        prior = base_rates(asked.label[taught], asked.n_classes)
        temperature = choose_temperature(within[r, k, taught], asked.label[taught], prior)
        answer[r, held_out] = posterior(outer[r, held_out], temperature, prior)
        rates[r, held_out] = prior
    return answer, rates


def base_rates(labels: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Shares with one clip added to each class, so that none is impossible."""
    counts = np.bincount(labels, minlength=n_classes) + 1.0
    return counts / counts.sum()


def probabilities_report(
    asked: Asked, answer: NDArray[np.float64], rates: NDArray[np.float64], weights: NDArray[np.float64]
) -> dict[str, Any]:
    """Log-loss, ECE and selective risk of the answers, beside those of the base rates."""
    here = np.arange(len(asked.label))
    loss = -np.log(answer[:, here, asked.label]).mean(axis=0)
    prior_loss = -np.log(rates[:, here, asked.label]).mean(axis=0)
    return {
        "log_loss": worth.mean_interval(loss, weights),
        "log_loss_of_base_rates": worth.mean_interval(prior_loss, weights),
        "log_loss_gain": worth.mean_interval(prior_loss - loss, weights),
        "ece": float(np.mean([worth.expected_calibration_error(p, asked.label) for p in answer])),
        "ece_of_base_rates": float(
            np.mean([worth.expected_calibration_error(p, asked.label) for p in rates])
        ),
        "area_under_risk": float(np.mean([worth.area_under_risk(p, asked.label) for p in answer])),
        "area_under_risk_of_base_rates": float(
            np.mean([worth.area_under_risk(p, asked.label) for p in rates])
        ),
        "accuracy": float((answer.argmax(axis=2) == asked.label).mean()),
        "accuracy_of_base_rates": float((rates.argmax(axis=2) == asked.label).mean()),
    }


@dataclass(frozen=True)
class Score:
    """What one pipeline's evidence is worth, in grouped folds and, for the leak, in ungrouped ones."""

    balanced_accuracy: Interval
    macro_f1: float
    ungrouped: float
    recall: Mapping[str, Interval]
    p: float


def score(
    asked: Asked,
    evidence: NDArray[np.float64],
    ungrouped: NDArray[np.float64],
    null: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> Score:
    """``evidence`` and ``ungrouped``: (repeats, n, n_classes) in the two kinds of folds."""
    guesses = evidence.argmax(axis=2)
    hit = (guesses == asked.label).mean(axis=0)
    repeats = np.tile(asked.label, (len(ungrouped), 1))
    recall = {
        name: worth.mean_interval(hit[asked.label == c], weights[:, asked.label == c])
        for c, name in enumerate(asked.question.classes)
    }
    value = worth.balanced_accuracy_interval(hit, asked.label, weights)
    return Score(
        balanced_accuracy=value,
        macro_f1=float(np.mean([worth.macro_f1(guess, asked.label) for guess in guesses])),
        ungrouped=float(balanced(ungrouped, repeats).mean()),
        recall=recall,
        p=worth.permutation_p(value.value, null),
    )
