"""Pictures of what an answer about causes is worth, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.training.cause_metrics import ReliabilityBin
from models.training.metrics import Interval

INK, PALE, SECOND = "#222222", "#999999", "#b2502f"


def _paper(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5.4, 4.0), dpi=140, layout="constrained")
        axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def risk_coverage(
    path: Path, curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], constant: float
) -> None:
    """One thin line a repeat: share of wrong answers among the surest, beside the ``constant`` answer's."""
    figure, axes = _paper("Answering only when sure", "share of cries answered", "share of answers wrong")
    for number, (coverage, risk) in enumerate(curves):
        axes.step(coverage, risk, where="post", color=SECOND, lw=0.8, alpha=0.6,
                  label="classifier, one line a repeat" if number == 0 else None)  # fmt: skip
    axes.axhline(constant, color=INK, lw=1.5, ls="--", label="always the commonest cause")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(0.5, 2.0 * constant))
    axes.legend(frameon=False)
    figure.savefig(path)


def reliability(path: Path, bins: Sequence[ReliabilityBin]) -> None:
    """How often right, by how sure; the size of a dot is the number of answers."""
    figure, axes = _paper("Reliability", "probability of the answer", "share of answers right")
    axes.plot([0, 1], [0, 1], color=PALE, lw=1)
    axes.scatter([b.confidence for b in bins], [b.accuracy for b in bins],
                 s=[12 + 4 * np.sqrt(b.n) for b in bins], color=INK)  # fmt: skip
    for b in bins:
        axes.annotate(
            f"{b.n}", (b.confidence, b.accuracy), textcoords="offset points", xytext=(6, -10), fontsize=8
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    figure.savefig(path)


def confusion(path: Path, shares: NDArray[np.float64], counts: Sequence[int], names: Sequence[str]) -> None:
    """Rows are what parents said, each summing to 1; columns what the evidence says."""
    figure, axes = _paper("Evidence against the parents' word", "evidence", "parents' word")
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    words = [name.replace("_", " ") for name in names]
    axes.set_xticks(range(len(words)), words, rotation=30, ha="right")
    axes.set_yticks(range(len(words)), [f"{word} ({n})" for word, n in zip(words, counts, strict=True)])
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column, row, f"{share:.2f}", ha="center", va="center", color="white" if share > 0.5 else INK
        )
    figure.savefig(path)


def chance(
    path: Path,
    observed: Mapping[str, float],
    null: Mapping[str, NDArray[np.float64]],
    level: Mapping[str, float],
) -> None:
    """Each question's best balanced accuracy beside the best of each permutation."""
    figure, axes = _paper("Best head, beside permuted labels", "balanced accuracy above chance", "")
    for row, name in enumerate(reversed(list(observed))):
        box = axes.boxplot(null[name] - level[name], positions=[row], orientation="horizontal",
                           whis=(0, 97.5), widths=0.5, showfliers=False)  # fmt: skip
        for line in (line for lines in box.values() for line in lines):
            line.set_color(PALE)
        axes.plot(observed[name] - level[name], row, "o", color=SECOND)
    axes.set_yticks(range(len(observed)), list(reversed(list(observed))))
    axes.axvline(0, color=INK, lw=0.8)
    figure.savefig(path)


def learning_curve(path: Path, title: str, unit: str, curves: Mapping[str, Sequence[Interval]]) -> None:
    """One line with its interval a system, over the number of confirmed cries."""
    figure, axes = _paper(title, "cries that the parent has confirmed", unit)
    for (name, curve), ink in zip(curves.items(), (INK, SECOND, PALE), strict=False):
        k = np.arange(len(curve))
        axes.plot(k, [point.value for point in curve], "o-", color=ink, ms=4, label=name)
        axes.fill_between(
            k, [point.low for point in curve], [point.high for point in curve], color=ink, alpha=0.12, lw=0
        )
    axes.set_xticks(range(max(len(curve) for curve in curves.values())))
    axes.legend(frameon=False)
    figure.savefig(path)
