"""The one training loop: teacher heads, gate students and cause classifiers differ by what they pass in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn; the rate rises over ``warm_up`` of the steps and falls as a cosine."""

    epochs: int
    batch: int
    rate: float
    weight_decay: float = 0.02
    warm_up: float = 0.05
    average: float = 0.998
    """Decay of the weights' moving average, which is what :func:`fit` returns."""


Indices = np.ndarray
Loss = Callable[[nn.Module, Indices], Tensor]


def fit(net: nn.Module, n_items: int, loss: Loss, schedule: Schedule, *, seed: int, title: str) -> nn.Module:
    """Train ``net`` and return the average of its weights, in eval mode.

    Parameters
    ----------
    loss
        Called with the net and the indices of a batch, int64 (batch,); returns a scalar to minimise.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(
        _decay_groups(net, schedule.weight_decay), lr=schedule.rate, betas=(0.9, 0.98)
    )
    n_steps = schedule.epochs * (n_items // schedule.batch)
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: _rate(k / n_steps, schedule.warm_up))
    averaged = copy.deepcopy(net).eval()
    net.train()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
    )  # fmt: skip
    with Progress(*columns) as progress:
        task = progress.add_task(title, total=n_steps, loss=float("nan"))
        running = float("nan")
        for step, batch in enumerate(_batches(n_items, schedule, rng)):
            optimiser.zero_grad(set_to_none=True)
            value = loss(net, batch)
            value.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            rates.step()
            # A short memory at first, so that the average forgets the random start.
            _average(averaged, net, min(schedule.average, (1 + step) / (10 + step)))
            running = float(value.detach()) if step == 0 else 0.98 * running + 0.02 * float(value.detach())
            progress.update(task, advance=1, loss=running)
    net.eval()
    return averaged


def _batches(n_items: int, schedule: Schedule, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for _ in range(schedule.epochs):
        order = rng.permutation(n_items)
        for start in range(0, n_items - schedule.batch + 1, schedule.batch):
            yield order[start : start + schedule.batch]


def _rate(progress: float, warm_up: float) -> float:
    if progress < warm_up:
        return progress / warm_up
    return 0.5 + 0.5 * float(np.cos(np.pi * (progress - warm_up) / (1.0 - warm_up)))


def _decay_groups(net: nn.Module, decay: float) -> list[dict[str, object]]:
    """Biases and normalisation do not decay: they have no scale to keep small."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _average(averaged: nn.Module, net: nn.Module, keep: float) -> None:
    for mean, now in zip(averaged.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1.0 - keep)
        else:
            mean.copy_(now)
