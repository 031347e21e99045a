"""Quantization-aware fine-tuning: the float net learns to answer as before while its numbers are rounded.

What comes back is an ordinary net without normalisation whose weights lie on the int8 grid already; it takes
the same way to ONNX and to static int8 as any other. The net is its own teacher (distilling and
quantizing together, arXiv 1907.00873), so no label is needed. Gradients pass the rounding as if it were
not there (straight-through estimator, Bengio et al. 2013).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from typing_extensions import override

from models.training.train import Indices, Schedule, fit

WEIGHT_LEVELS: Final = 64
"""Weights keep to -64…64, as models.training.quantize.Static has them."""
ACTIVATION_LEVELS: Final = 255
FOLLOW: Final = 0.05
"""How fast the observed range of activations follows a batch."""

Layer = nn.Conv1d | nn.Conv2d | nn.Linear
Normalisation = nn.BatchNorm1d | nn.BatchNorm2d
Answers = Callable[[nn.Module, Indices], Tensor]
"""What the net says to a batch of examples, by index; whatever shape, it is compared with itself."""


def tuned(net: nn.Module, answers: Answers, n_examples: int, schedule: Schedule, seed: int) -> nn.Module:
    """A copy of ``net`` that bears rounding better, in eval mode, float again but on the grid."""
    teacher = copy.deepcopy(net).eval()
    student = round_layers(fold_normalisation(copy.deepcopy(net).eval()))

    def loss(rounded: nn.Module, batch: Indices) -> Tensor:
        with torch.no_grad():
            wanted = answers(teacher, batch)
        return functional.smooth_l1_loss(answers(rounded, batch), wanted)

    return on_the_grid(fit(student, n_examples, loss, schedule, seed=seed, title="rounded student"))


def fold_normalisation(net: nn.Module) -> nn.Module:
    """Multiply each batch normalisation into the layer before it, in place."""
    for parent in net.modules():
        children = list(parent.named_children())
        for (name, layer), (norm_name, norm) in pairwise(children):
            if isinstance(layer, nn.Conv1d | nn.Conv2d) and isinstance(norm, Normalisation):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                setattr(parent, norm_name, nn.Identity())
    return net


class Rounded(nn.Module):
    """A layer whose input and weights are rounded as int8 would have them."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self._observe(x.detach())
        # Zero has to be on the grid: padding is exact, and so is a silent ReLU.
        step = ((self.high - self.low) / ACTIVATION_LEVELS).clamp(min=1e-8)
        offset = torch.round(-self.low / step)
        x = (_rounded((x / step + offset).clamp(0, ACTIVATION_LEVELS)) - offset) * step
        weight = self.weight()
        if isinstance(self.layer, nn.Linear):
            return functional.linear(x, weight, self.layer.bias)
        return self.layer._conv_forward(x, weight, self.layer.bias)  # noqa: SLF001 - all but the weight

    def weight(self) -> Tensor:
        """The layer's weight, rounded per output channel."""
        weight = self.layer.weight
        over = tuple(range(1, weight.ndim))
        step = (weight.detach().abs().amax(dim=over, keepdim=True) / WEIGHT_LEVELS).clamp(min=1e-12)
        return _rounded(weight / step) * step

    def _observe(self, x: Tensor) -> None:
        low, high = x.min().clamp(max=0.0), x.max().clamp(min=0.0)
        if self.high == self.low:
            self.low.copy_(low)
            self.high.copy_(high)
        else:
            self.low.lerp_(low, FOLLOW)
            self.high.lerp_(high, FOLLOW)


def _rounded(x: Tensor) -> Tensor:
    """Whole numbers whose gradient is that of ``x``."""
    return x + (x.round() - x).detach()


class Settled(nn.Module):
    """A layer that stays as in use while the others learn: nothing dropped out, no new statistics."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    @override
    def train(self, mode: bool = True) -> Self:
        return super().train(mode=False)


def round_layers(net: nn.Module) -> nn.Module:
    """Wrap every layer with weights, and what only training changes, in place."""
    for parent in list(net.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Layer):
                setattr(parent, name, Rounded(layer))
            elif isinstance(layer, Normalisation | nn.Dropout):
                setattr(parent, name, Settled(layer))
    return net


@torch.no_grad()
def on_the_grid(net: nn.Module) -> nn.Module:
    """Take the wrapping off again; the weights stay rounded. In place."""
    for parent in list(net.modules()):
        for name, wrapped in list(parent.named_children()):
            if isinstance(wrapped, Rounded):
                wrapped.layer.weight.copy_(wrapped.weight())
            if isinstance(wrapped, Rounded | Settled):
                setattr(parent, name, wrapped.layer)
    return net.eval()
