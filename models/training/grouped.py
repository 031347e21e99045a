"""Folds and permutations that keep a baby's recordings together. Without that, identity passes for cause."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

LARGEST_STRATUM: Final = 5
"""Groups of so many clips or more are permuted among themselves: few of them are of equal size."""


def stratified_group_folds(
    labels: NDArray[np.int64], groups: NDArray[np.str_], n_folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The fold of each item, (n,): no group in two folds, each class as evenly spread as the groups allow.

    Greedy: the groups that say most about the balance go first, each to the fold where the classes'
    shares then differ least. ``groups`` of one item each give the usual stratified folds.
    """
    names, own = np.unique(groups, return_inverse=True)
    n_classes = int(labels.max()) + 1
    counts = np.zeros((len(names), n_classes))
    np.add.at(counts, (own, labels), 1.0)
    share = counts / np.maximum(counts.sum(axis=0), 1.0)
    shuffled = rng.permutation(len(names))
    order = shuffled[np.argsort(-share[shuffled].max(axis=1), kind="stable")]
    fold_of_group = np.zeros(len(names), np.int64)
    # Each fold's share of each class, and as the last column of all clips: sizes should be even too.
    share = np.column_stack([share, counts.sum(axis=1) / len(labels)])
    filled = np.zeros((n_folds, n_classes + 1))
    for group in order:
        # Adding to the emptiest keeps the sum of squares, and with it the variance, least.
        growth = 2.0 * filled @ share[group]
        lowest = np.flatnonzero(growth <= growth.min() + 1e-12)
        best = int(lowest[rng.integers(len(lowest))])
        filled[best] += share[group]
        fold_of_group[group] = best
    return fold_of_group[own]


def permute_between_groups(
    labels: NDArray[np.int64], groups: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The labels dealt out anew, each group's as one block, to groups of like size.

    Within a group labels agree far more than by chance, so permuting single clips would make chance
    look narrower than it is.
    """
    names, own, size = np.unique(groups, return_inverse=True, return_counts=True)
    members = [np.flatnonzero(own == group) for group in range(len(names))]
    stratum = np.minimum(size, LARGEST_STRATUM)
    permuted = labels.copy()
    for like in np.unique(stratum):
        same = np.flatnonzero(stratum == like)
        targets = np.concatenate([members[group] for group in same])
        # Blocks of the last stratum differ in size: there a block may reach over a border between groups.
        permuted[targets] = np.concatenate([labels[members[group]] for group in rng.permutation(same)])
    return permuted


def permute_within_groups(
    labels: NDArray[np.int64], groups: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Each group's labels in random order: what a group says stays, which clip says it does not."""
    permuted = labels.copy()
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        permuted[own] = labels[rng.permutation(own)]
    return permuted
