"""Folds for cross-validation in which no group (a phone, a speaker, a recording) stands on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def grouped_folds(
    labels: NDArray[np.int64], groups: Sequence[str], n_folds: int, *, seed: int
) -> NDArray[np.int64]:
    """Fold of each item, 0 to ``n_folds`` - 1, int64 (n,); groups stay whole, classes are spread evenly.

    Groups are dealt out one by one, those with the largest share of any class first, each to the fold
    that holds least of what the group brings. A class counts by shares, so that six clips of a rare one
    weigh as much as three hundred of a common one; ``seed`` orders groups that are alike.

    Raises
    ------
    ValueError
        If there are fewer groups than folds: a fold would be empty.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < n_folds:
        raise ValueError(f"{len(names)} groups cannot fill {n_folds} folds")
    counts = np.zeros((len(names), int(labels.max()) + 1))
    np.add.at(counts, (member, labels), 1.0)
    share = counts / np.maximum(counts.sum(axis=0), 1.0)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-share[order].max(axis=1), kind="stable")]
    held = np.zeros((n_folds, share.shape[1]))
    home = np.zeros(len(names), np.int64)
    for group in order:
        likeness = held @ share[group]
        # An empty fold first; among equals the one that holds least of everything.
        fold = min(range(n_folds), key=lambda f: (float(likeness[f]), float(held[f].sum()), f))
        held[fold] += share[group]
        home[group] = fold
    return home[member]


def train_and_held_out(folds: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and rows to be measured on, one pair a fold."""
    for fold in range(int(folds.max()) + 1):
        yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
