"""Small heads on frozen vectors, many at once: a study of chance needs thousands of them.

Every head gives evidence, that is logits without base rates (logit adjustment, Menon et al. 2007.07314),
so its argmax treats rare causes like common ones and base rates are added where probabilities are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]
Folds = NDArray[np.int64]
Head = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Vectors (n, ...), one-hot labels (fits, n, c), training mask (fits, n) -> evidence (fits, n, c)."""

N_AXES = 64
AT_ONCE = 256
"""Fits computed together: memory stays below some 100 MB."""


def projected(vectors: Vectors, unlabelled: Vectors, k: int = N_AXES) -> Vectors:
    """``vectors`` along the ``k`` strongest principal axes of ``unlabelled``, there of unit variance.

    The axes come from sounds that are never scored, so no fold can learn from them.
    """
    mean = unlabelled.mean(axis=0)
    _, scale, axes = np.linalg.svd(unlabelled - mean, full_matrices=False)
    return ((vectors - mean) @ (axes[:k] / scale[:k, None] * math.sqrt(len(unlabelled) - 1)).T).astype(
        np.float32
    )


def lda(x: Tensor, y: Tensor, mask: Tensor, *, shrink: float = 0.5) -> Tensor:
    """Linear discriminants; the shared covariance is shrunk half-way to a sphere."""
    taught = y * mask[:, :, None]
    n = taught.sum(dim=1)
    overall = (mask @ x) / mask.sum(dim=1, keepdim=True)
    sums = torch.einsum("bnc,nk->bck", taught, x)
    means = torch.where(n[:, :, None] > 0, sums / n.clamp(min=1)[:, :, None], overall[:, None, :])
    second = torch.einsum("bn,nk,nl->bkl", mask, x, x)
    within = second - torch.einsum("bc,bck,bcl->bkl", n, means, means)
    within = within / mask.sum(dim=1)[:, None, None]
    k = x.shape[1]
    sphere = within.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None] * torch.eye(k)
    directions = torch.linalg.solve((1 - shrink) * within + shrink * sphere, means.transpose(1, 2))
    offset = 0.5 * (means.transpose(1, 2) * directions).sum(dim=1)
    return torch.einsum("nk,bkc->bnc", x, directions) - offset[:, None, :]


def logistic(x: Tensor, y: Tensor, mask: Tensor, *, ridge: float = 0.1, steps: int = 40) -> Tensor:
    """Multinomial logistic regression by Nesterov's gradient descent, base rates as a fixed offset."""
    taught = mask.sum(dim=1)
    log_rates = torch.log(((y * mask[:, :, None]).sum(dim=1) + 0.5) / (taught[:, None] + 0.5 * y.shape[2]))
    design = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    # Softmax curves by at most one half of the data's own second moment.
    rate = 1.0 / (0.5 * float(torch.linalg.matrix_norm(design.T @ design / len(x), 2)) * 1.3 + ridge)
    weights = torch.zeros(len(y), design.shape[1], y.shape[2])
    ahead = weights
    decay = torch.full((design.shape[1], 1), ridge)
    decay[-1] = 0.0
    for step in range(steps):
        chance = torch.softmax(design @ ahead + log_rates[:, None, :], dim=2)
        wrong = (chance - y) * (mask / taught[:, None])[:, :, None]
        moved = ahead - rate * (design.T @ wrong + decay * ahead)
        ahead = moved + step / (step + 3.0) * (moved - weights)
        weights = moved
    return design @ weights


def attention(
    columns: Tensor, y: Tensor, mask: Tensor, *, heads: int = 4, steps: int = 60, seed: int = 0
) -> Tensor:
    """Multi-head attention over time, learned together with a linear layer on what it gathers.

    ``columns``: (n, time, k). Each head looks at all k channels, weighs time by its own query and adds its
    weighted mean to the logits through its own weights.
    """
    generator = torch.Generator().manual_seed(seed)
    k, n_classes, fits = columns.shape[2], y.shape[2], len(y)
    query = (torch.randn(fits, k, heads, generator=generator) * 0.3 / math.sqrt(k)).requires_grad_()
    layer = torch.zeros(fits, heads, k, n_classes, requires_grad=True)
    bias = torch.zeros(fits, 1, n_classes, requires_grad=True)
    optimiser = torch.optim.AdamW([query, layer, bias], lr=0.02, weight_decay=0.5)
    taught = mask.sum(dim=1)
    log_rates = torch.log(((y * mask[:, :, None]).sum(dim=1) + 0.5) / (taught[:, None] + 0.5 * n_classes))

    def evidence() -> Tensor:
        scores = torch.einsum("ntk,bkh->bnth", columns, query)
        gathered = torch.einsum("bnth,ntk->bnhk", torch.softmax(scores, dim=2), columns)
        return torch.einsum("bnhk,bhkc->bnc", gathered, layer) / heads + bias

    for _ in range(steps):
        optimiser.zero_grad()
        log_chance = torch.log_softmax(evidence() + log_rates[:, None, :], dim=2)
        loss = -((log_chance * y).sum(dim=2) * mask / taught[:, None]).sum()
        loss.backward()
        optimiser.step()
    return evidence().detach()


def out_of_fold(
    head: Head,
    vectors: Vectors,
    labels: Labels,
    folds: Folds,
    n_classes: int,
    extra: NDArray[np.bool_] | None = None,
    *,
    at_once: int = AT_ONCE,
) -> NDArray[np.float64]:
    """Evidence on each item from the heads that never saw its fold.

    Parameters
    ----------
    labels, folds
        (sets, n): many label vectors, each with its own folds, are fitted together. A fold of -1 is never
        scored (its evidence is nan) and never taught either, unless ``extra`` says so.
    extra
        (sets, n, n_folds): items of fold -1 to teach beside the folds other than this one.

    Returns
    -------
    (sets, n, n_classes)
    """
    n_folds = int(folds.max()) + 1
    x = torch.from_numpy(vectors)
    fold = np.arange(n_folds)
    masks = (folds[:, None, :] != fold[None, :, None]) & (folds[:, None, :] >= 0)
    if extra is not None:
        masks |= extra.transpose(0, 2, 1)
    masks = masks.reshape(-1, folds.shape[1])
    onehot = np.eye(n_classes, dtype=np.float32)[np.repeat(labels, n_folds, axis=0)]
    evidence = np.full((len(masks), folds.shape[1], n_classes), np.nan)
    for start in range(0, len(masks), at_once):
        part = slice(start, start + at_once)
        mask = torch.from_numpy(masks[part].astype(np.float32))
        evidence[part] = head(x, torch.from_numpy(onehot[part]), mask).numpy()
    by_set = evidence.reshape(len(folds), n_folds, folds.shape[1], n_classes)
    chosen = np.take_along_axis(by_set, np.maximum(folds, 0)[:, None, :, None], axis=1)[:, 0]
    chosen[folds < 0] = np.nan
    return chosen
