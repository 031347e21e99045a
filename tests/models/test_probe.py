"""Heads against what they must find, and folds that teach nothing about themselves."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make install-train")

from models.training import probe  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def blobs():
    """Two classes of 60 and 12, apart along the first of four axes."""
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [60, 12])
    x = rng.normal(size=(72, 4)).astype(np.float32)
    x[:, 0] += 4.0 * label
    return x, label, rng.integers(4, size=72)


def _one(head, x, label, folds):
    return probe.out_of_fold(head, x, label[None], folds[None], 2)[0]


@pytest.mark.parametrize("head", [probe.lda, probe.logistic])
def test_evidence_treats_the_rare_class_like_the_common_one(head, blobs):
    x, label, folds = blobs
    right = _one(head, x, label, folds).argmax(axis=1) == label
    assert right[label == 0].mean() > 0.9
    assert right[label == 1].mean() > 0.9


def test_attention_finds_the_one_step_that_tells():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 40)
    columns = rng.normal(0, 0.3, (80, 10, 4)).astype(np.float32)
    columns[:, 6, :2] = np.where(label[:, None] == 1, [3.0, 2.0], [3.0, -2.0])
    right = _one(probe.attention, columns, label, rng.integers(4, size=80)).argmax(axis=1) == label
    assert right.mean() > 0.9


def test_lda_equals_the_formula(blobs):
    x, label, _ = blobs
    mask = np.ones(72, np.float32)
    mask[::5] = 0.0
    onehot = np.eye(2, dtype=np.float32)[label]
    got = probe.lda(torch.from_numpy(x), torch.from_numpy(onehot[None]), torch.from_numpy(mask[None]))[0]
    kept = mask > 0
    means = np.stack([x[kept & (label == c)].mean(axis=0) for c in (0, 1)])
    apart = x[kept] - means[label[kept]]
    within = apart.T @ apart / kept.sum()
    covariance = 0.5 * within + 0.5 * np.eye(4) * np.trace(within) / 4
    wanted = x @ np.linalg.solve(covariance, means.T)
    wanted -= 0.5 * np.einsum("ck,kc->c", means, np.linalg.solve(covariance, means.T))
    np.testing.assert_allclose(got.numpy(), wanted, atol=2e-4)


def test_logistic_is_at_the_minimum_of_its_loss(blobs):
    x, label, _ = blobs
    data = torch.from_numpy(x), torch.from_numpy(np.eye(2, dtype=np.float32)[label][None]), torch.ones(1, 72)
    near, far = probe.logistic(*data), probe.logistic(*data, steps=2000)
    assert torch.allclose(near, far, atol=0.05)


@pytest.mark.parametrize("head", [probe.lda, probe.logistic])
def test_what_a_held_out_label_says_changes_nothing_for_its_own_fold(head, blobs):
    x, label, folds = blobs
    before = _one(head, x, label, folds)
    changed = label.copy()
    changed[folds == 2] = 1 - changed[folds == 2]
    after = _one(head, x, changed, folds)
    assert np.allclose(before[folds == 2], after[folds == 2])
    assert not np.allclose(before[folds != 2], after[folds != 2])


def test_many_label_sets_at_once_equal_one_at_a_time(blobs):
    x, label, folds = blobs
    labels = np.stack([label, label[::-1], label])
    many = np.stack([folds, folds, folds[::-1]])
    together = probe.out_of_fold(probe.logistic, x, labels, many, 2, at_once=5)
    for i in range(3):
        np.testing.assert_allclose(together[i], _one(probe.logistic, x, labels[i], many[i]), atol=1e-4)


def test_items_without_a_fold_teach_only_where_they_are_let(blobs):
    x, label, folds = blobs
    partly = folds.copy()
    partly[:10] = -1
    alone = _one(probe.lda, x, label, partly)
    assert np.isnan(alone[:10]).all()
    np.testing.assert_allclose(alone[10:], _one(probe.lda, x[10:], label[10:], folds[10:]), atol=1e-4)
    extra = np.zeros((1, 72, 4), bool)
    extra[0, :10, 1] = True
    with_extra = probe.out_of_fold(probe.lda, x, label[None], partly[None], 2, extra)[0]
    moved = np.abs(with_extra - alone).max(axis=1) > 1e-6
    assert moved[10:].any()
    assert not moved[(partly >= 0) & (partly != 1)].any()


def test_projection_comes_from_the_unlabelled_alone():
    rng = np.random.default_rng(0)
    unlabelled = (rng.normal(size=(400, 3)) * [5.0, 2.0, 0.1] + 7.0).astype(np.float32)
    near = probe.projected(unlabelled, unlabelled, 2)
    np.testing.assert_allclose(np.cov(near.T), np.eye(2), atol=1e-3)
    one = rng.normal(size=(1, 3)).astype(np.float32)
    two = np.concatenate([one, one + 100.0])
    np.testing.assert_allclose(
        probe.projected(one, unlabelled, 2), probe.projected(two, unlabelled, 2)[:1], rtol=1e-4
    )
