import numpy as np
import pytest

from models.training.folds import grouped_folds, train_and_held_out

GROUPS = [f"phone-{k % 37}" for k in range(200)]
LABELS = np.array([3 if k % 37 < 30 else (k % 37) % 3 for k in range(200)])


def test_no_group_stands_on_both_sides():
    for seed in range(5):
        folds = grouped_folds(LABELS, GROUPS, 4, seed=seed)
        for train, held_out in train_and_held_out(folds):
            assert not {GROUPS[k] for k in train} & {GROUPS[k] for k in held_out}


def test_every_item_is_held_out_exactly_once():
    folds = grouped_folds(LABELS, GROUPS, 4, seed=0)
    held_out = np.concatenate([rows for _, rows in train_and_held_out(folds)])
    assert sorted(held_out) == list(range(200))


def test_a_class_of_one_group_a_fold_is_in_every_fold():
    """Four phones with the rare cause, one of them with many clips, among forty with the common one."""
    groups = ["a"] * 9 + ["b", "c", "d"] + [f"common-{k}" for k in range(40)]
    labels = np.array([1] * 12 + [0] * 40)
    for seed in range(10):
        folds = grouped_folds(labels, groups, 4, seed=seed)
        assert set(folds[labels == 1]) == {0, 1, 2, 3}
        assert np.bincount(folds[labels == 0], minlength=4).min() >= 5


def test_another_seed_deals_other_folds_and_the_same_seed_the_same():
    one, again, other = (grouped_folds(LABELS, GROUPS, 4, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(ValueError, match="3 groups cannot fill 4 folds"):
        grouped_folds(np.zeros(6, np.int64), ["a", "b", "c"] * 2, 4, seed=0)
