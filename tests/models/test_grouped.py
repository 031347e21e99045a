"""A baby is never in two folds, and permuting keeps what belongs together."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.grouped import permute_between_groups, permute_within_groups, stratified_group_folds


@pytest.fixture
def babies():
    """Groups of 1 to 8 clips, mostly one label each, one class rare."""
    rng = np.random.default_rng(3)
    size = rng.integers(1, 9, 60)
    groups = np.repeat([f"baby-{i}" for i in range(60)], size)
    labels = np.repeat(rng.choice(3, 60, p=[0.8, 0.12, 0.08]), size)
    labels[::17] = 1
    order = rng.permutation(len(groups))
    return labels[order], groups[order]


def test_no_group_is_in_two_folds(babies):
    labels, groups = babies
    for seed in range(20):
        folds = stratified_group_folds(labels, groups, 5, np.random.default_rng(seed))
        assert set(folds) == set(range(5))
        assert all(len(set(folds[groups == group])) == 1 for group in set(groups))


def test_folds_are_of_like_size_and_all_hold_every_class(babies):
    labels, groups = babies
    folds = stratified_group_folds(labels, groups, 5, np.random.default_rng(0))
    size = np.bincount(folds)
    assert size.max() - size.min() <= 0.1 * len(labels)
    for c in range(3):
        assert (np.bincount(folds[labels == c], minlength=5) > 0).all()


def test_clips_on_their_own_are_dealt_evenly():
    labels = np.repeat([0, 1], [50, 10])
    folds = stratified_group_folds(labels, np.arange(60).astype(str), 5, np.random.default_rng(0))
    assert np.bincount(folds[labels == 0]).tolist() == [10] * 5
    assert np.bincount(folds[labels == 1]).tolist() == [2] * 5


def test_another_seed_gives_other_folds(babies):
    one, other = (stratified_group_folds(*babies, 5, np.random.default_rng(s)) for s in (0, 1))
    assert (one != other).any()


def test_permuting_between_groups_keeps_counts_and_blocks(babies):
    labels, groups = babies
    labels = np.array([int(g.split("-")[1]) % 3 for g in groups])  # every group of one mind
    permuted = permute_between_groups(labels, groups, np.random.default_rng(0))
    assert np.bincount(permuted).tolist() == np.bincount(labels).tolist()
    assert (permuted != labels).any()
    names, size = np.unique(groups, return_counts=True)
    for name in names[size < 5]:
        assert len(set(permuted[groups == name])) == 1, "a small group got parts of two others"


def test_permuting_between_groups_reaches_every_group_of_its_size():
    groups, labels = np.array(["a", "b", "c", "d", "d"]), np.array([1, 0, 0, 2, 2])
    rng = np.random.default_rng(0)
    dealt = {tuple(permute_between_groups(labels, groups, rng)) for _ in range(60)}
    assert dealt == {(1, 0, 0, 2, 2), (0, 1, 0, 2, 2), (0, 0, 1, 2, 2)}


def test_permuting_within_groups_keeps_each_groups_labels(babies):
    labels, groups = babies
    permuted = permute_within_groups(labels, groups, np.random.default_rng(0))
    assert (permuted != labels).any()
    for group in set(groups):
        assert sorted(permuted[groups == group]) == sorted(labels[groups == group])
