"""Cries of one evening are one bout in one room: what is learnt for another day, in the order it happened."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.training import cause_metrics as worth
from models.training import corpus
from models.training.personal_curve import Baby, Choice
from monitor.detect.personal import CAUSES, PersonalHead
from monitor.detect.personal_prior import PersonalPrior

GAP_S: Final = 3600.0
"""Cries further apart than this belong to different sessions."""
_STAMP: Final = re.compile(r"-(1[34]\d{8})(\d{3})?-")
"""Seconds of the app's upload, with milliseconds on some phones, between installation and version."""


def recorded_s(name: str) -> float:
    """When a donateacry upload was made, in seconds, from its name at the source. ValueError without."""
    found = _STAMP.search(name)
    if found is None:
        raise ValueError(f"no time in {name!r}")
    return float(found[1]) + float(found[2] or 0) / 1000.0


def times(root: Path) -> dict[str, float]:
    """When each upload of the corpus was made, by the clip's path."""
    with (root / corpus.MANIFEST_NAME).open(newline="", encoding="utf-8") as file:
        return {
            row["path"]: recorded_s(row["orig"])
            for row in csv.DictReader(file)
            if row["source"] == "donateacry"
        }


def sessions(groups: NDArray[np.str_], when: NDArray[np.float64]) -> NDArray[np.int64]:
    """The session of each cry, (n,), numbered through all babies and in each baby's order of time."""
    number, result = -1, np.zeros(len(groups), np.int64)
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        own = own[np.argsort(when[own], kind="stable")]
        for before, cry in zip([None, *own[:-1]], own, strict=True):
            number += before is None or when[cry] - when[before] > GAP_S
            result[cry] = number
    return result


def pairs(groups: NDArray[np.str_], session: NDArray[np.int64], cause: NDArray[np.int64]) -> dict[str, Any]:
    """How often two cries of a baby have one cause, within a session and across sessions."""
    same_baby = np.triu(groups[:, None] == groups[None, :], 1)
    same_session = session[:, None] == session[None, :]
    same_cause = cause[:, None] == cause[None, :]
    return {
        name: {"pairs": int(which.sum()), "same_cause": int((which & same_cause).sum())}
        for name, which in (
            ("within a session", same_baby & same_session),
            ("across sessions", same_baby & ~same_session),
        )
    }


def across(
    babies: Sequence[Baby],
    members: Callable[[Baby], NDArray[np.int64]],
    session: NDArray[np.int64],
    vectors: NDArray[np.float32],
    cause: NDArray[np.int64],
    systems: dict[str, tuple[Sequence[Choice], Callable[[Baby, Choice], PersonalPrior]]],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Log-loss of cries when only those of the baby's earlier sessions are confirmed, mean a baby.

    ``members``: the rows of a baby; ``systems``: each baby's choice and the prior that goes with it.
    """
    several = [i for i, baby in enumerate(babies) if len(np.unique(session[members(baby)])) > 1]
    lost = {name: np.zeros(len(several)) for name in ("base rates", *systems)}
    n_cries = 0
    for row, i in enumerate(several):
        own = members(babies[i])
        later = own[session[own] > session[own].min()]
        n_cries += len(later)
        lost["base rates"][row] = -np.log(babies[i].rates[cause[later]]).mean()
        for name, (choices, prior_of) in systems.items():
            prior = prior_of(babies[i], choices[i])
            told = [_after(prior, own[session[own] < session[cry]], vectors, cause, cry) for cry in later]
            lost[name][row] = np.mean(told)
    weights = worth.group_draws(np.array([babies[i].name for i in several]), 1000, rng)
    report: dict[str, Any] = {"babies": len(several), "cries": n_cries}
    for name, each in lost.items():
        report[name] = worth.mean_interval(each, weights)
    for better, worse in (("own counts", "base rates"), ("own counts and sound", "own counts")):
        report[f"gain of {better} over {worse}"] = worth.mean_interval(lost[worse] - lost[better], weights)
    return report


def _after(
    prior: PersonalPrior,
    confirmed: NDArray[np.int64],
    vectors: NDArray[np.float32],
    cause: NDArray[np.int64],
    cry: np.int64,
) -> float:
    head = PersonalHead(prior)
    for known in confirmed:
        head.update(vectors[known], CAUSES[cause[known]])
    return -float(np.log(head.predict(vectors[cry])[CAUSES[cause[cry]]]))
