"""Plots of an evaluation on nights, drawn from its JSON: readable at 800 pixels.

python -m models.training.plots nights.json --out plots
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.training.night_score import NAMED_SOUNDS
from monitor.errors import ConfigError, MonitorError

COLOURS: Final = ("#1b6ca8", "#c8553d", "#588b3b", "#8a5a9e", "#7a7a7a")
"""Ours first; told apart in grey and by those who see no red or green."""
STYLES: Final = ("-", "--", "-.", ":")
WIDTH_IN: Final = 8.0
DPI: Final = 100
FEWEST_PER_HOUR: Final = 0.02
"""Where no false alarm was heard, a point stands here on the logarithmic axis."""
LONG_S: Final = 300.0
"""Of exposure; with less the upper limit of no alarm at all is over 44 an hour."""
REPORTED: Final = ("cradlewatch", "YAMNet > 0.3, no volume limit", "mn04 zero-shot > 0.1")
"""Of the rivals' rules, those beside ours in the bars."""


def draw_nights(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """All plots of one evaluation into ``folder``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _saved(figure, folder / name)
        for name, figure in (
            ("det.png", det(result)),
            ("recall-by-snr.png", recall_by_snr(result)),
            ("reliability.png", reliability(result)),
            ("false-alarms.png", false_alarms(result)),
        )
    ]


def det(result: Mapping[str, Any]) -> Figure:
    """Missed bouts over false alarms an hour: a curve for each network, a mark for each rule."""
    figure, axes = _figure(5.2)
    for k, (name, own) in enumerate(result["scores"].items()):
        points = [point for point in own["points"] if point["recall"]["value"] is not None]
        # From few false alarms to many: a step never shows a recall before its false alarms are reached.
        # The fewest missed so far: at the lowest thresholds everything is one endless episode.
        points.sort(key=lambda point: (point["alarms_per_hour"]["value"], point["recall"]["value"]))
        x = [max(point["alarms_per_hour"]["value"], FEWEST_PER_HOUR) for point in points]
        y = list(accumulate((100.0 * (1.0 - point["recall"]["value"]) for point in points), min))
        axes.step(
            x,
            y,
            where="post",
            color=_colour(k),
            linestyle=STYLES[k % len(STYLES)],
            label=f"{name}, any threshold",
        )
        rules = [rule for rule in result["systems"] if rule["name"].startswith(name)]
        rules = [rule for rule in rules if rule["recall"]["value"] is not None]
        axes.plot(
            [max(rule["false_alarms_per_hour"]["value"], FEWEST_PER_HOUR) for rule in rules],
            [100.0 * (1.0 - rule["recall"]["value"]) for rule in rules],
            marker="o" if k == 0 else "s",
            linestyle="none",
            color=_colour(k),
            label=f"{name}, as released" if k == 0 and name == REPORTED[0] else f"{name}, fixed rules",
        )
    axes.set_xscale("log")
    ticks = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(FEWEST_PER_HOUR * 0.9, 30.0)
    axes.set_ylim(0.0, 100.0)
    axes.set_xlabel(f"at most so many false alarms per hour (none: drawn at {FEWEST_PER_HOUR:g})")
    axes.set_ylabel("bouts missed, %")
    axes.set_title(f"Missed bouts and false alarms, {result['hours']:.0f} h of synthetic nights")
    return _finished(figure, axes)


def recall_by_snr(result: Mapping[str, Any]) -> Figure:
    """Share of bouts found in each band of SNR, with 95 % intervals."""
    figure, axes = _figure(4.6)
    systems = _reported(result)
    bands = [
        band for band, own in systems[0]["recall_by"]["SNR"].items() if own["bouts"]
    ] if systems else []  # fmt: skip
    for k, system in enumerate(systems):
        own = [system["recall_by"]["SNR"][band] for band in bands]
        value = [100.0 * one["value"] for one in own]
        low = [v - 100.0 * one["low"] for v, one in zip(value, own, strict=True)]
        high = [100.0 * one["high"] - v for v, one in zip(value, own, strict=True)]
        at = [i + 0.14 * (k - (len(systems) - 1) / 2.0) for i in range(len(bands))]
        axes.errorbar(
            at,
            value,
            yerr=[low, high],
            color=_colour(k),
            marker="o",
            capsize=3,
            linestyle=STYLES[k % len(STYLES)],
            label=system["name"],
        )
    counts = [systems[0]["recall_by"]["SNR"][band]["bouts"] for band in bands] if systems else []
    axes.set_xticks(range(len(bands)), [f"{band}\n{n} bouts" for band, n in zip(bands, counts, strict=True)])
    axes.set_ylim(0.0, 103.0)
    axes.set_xlabel("level of the cry over the background")
    axes.set_ylabel("bouts found, %")
    axes.set_title("Bouts found by signal-to-noise ratio")
    return _finished(figure, axes, "lower right")


def reliability(result: Mapping[str, Any]) -> Figure:
    """How often it was crying, over what the score said."""
    figure, axes = _figure(5.2)
    axes.plot([0, 1], [0, 1], color="#b0b0b0", linewidth=1.0, label="a probability")
    for k, (name, own) in enumerate(result["scores"].items()):
        bins = own["reliability"]
        full = [i for i, n in enumerate(bins["steps"]) if n]
        axes.plot(
            [bins["score"][i] for i in full],
            [bins["crying"][i] / bins["steps"][i] for i in full],
            marker="o",
            color=_colour(k),
            linestyle=STYLES[k % len(STYLES)],
            label=f"{name} (ECE {bins['ece']:.3f})" if bins["ece"] is not None else name,
        )
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("score of a step that the model heard")
    axes.set_ylabel("share of these steps that were crying")
    axes.set_title("Reliability of the scores over whole nights")
    return _finished(figure, axes)


def false_alarms(result: Mapping[str, Any]) -> Figure:
    """False alarms per hour of exposure to a sound, with the upper end of the Poisson interval."""
    systems = _reported(result)
    labels = _labels(systems)
    figure, axes = _figure(1.6 + 0.36 * max(len(labels), 4))
    height = 0.8 / max(len(systems), 1)
    for k, system in enumerate(systems):
        rates = [system["false_alarms_by_label"].get(label) for label in labels]
        known = [
            (i, rate["per_hour_of_exposure"]) for i, rate in enumerate(rates) if rate and rate["exposure_s"]
        ]
        values = [rate["value"] for _, rate in known]
        axes.barh(
            [i + height * (k - (len(systems) - 1) / 2.0) for i, _ in known],
            values,
            height,
            color=_colour(k),
            xerr=[[0.0] * len(known), [rate["high"] - rate["value"] for _, rate in known]],
            error_kw={"linewidth": 0.8, "ecolor": "#555555"},
            label=system["name"],
        )
    axes.set_yticks(range(len(labels)), [_label_text(label, systems) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0.0, _widest(systems))
    axes.set_xlabel("false alarms per hour of exposure; whisker: upper 95 % limit")
    axes.set_title("False alarms by the sound that raised them")
    _finished(figure, axes, None)
    # Below: within the axes it would lie on bars.
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _labels(systems: Sequence[Mapping[str, Any]]) -> list[str]:
    """The named sounds, then the others that raised anything, the most frequent first."""
    counts: dict[str, int] = {}
    for system in systems:
        for label, own in system["false_alarms_by_label"].items():
            counts[label] = counts.get(label, 0) + own["alarms"]
    others = sorted(
        (label for label in counts if label not in NAMED_SOUNDS), key=lambda label: -counts[label]
    )
    return [*NAMED_SOUNDS, *(label for label in others if counts[label])][:16]


def _widest(systems: Sequence[Mapping[str, Any]]) -> float:
    """End of the axis: all bars, and the whiskers of what was heard long enough to say something."""
    alarms = [
        own for system in systems for own in system["false_alarms_by_label"].values() if own["exposure_s"]
    ]
    rates = [own["per_hour_of_exposure"] for own in alarms]
    whiskers = [own["per_hour_of_exposure"]["high"] for own in alarms if own["exposure_s"] >= LONG_S]
    return 1.05 * max([1.0, *(rate["value"] for rate in rates), *whiskers])


def _label_text(label: str, systems: Sequence[Mapping[str, Any]]) -> str:
    own = next(
        (s["false_alarms_by_label"][label] for s in systems if label in s["false_alarms_by_label"]), None
    )
    name = NAMED_SOUNDS.get(label, label.replace("_", " "))
    if own is None:
        return f"{name} (none in this split)"
    return f"{name} ({own['exposure_s'] / 60.0:.1f} min)" if own["exposure_s"] else name


def _reported(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Ours, and one rule of each rival; all when these are not among them."""
    chosen = [system for system in result["systems"] if system["name"] in REPORTED]
    return chosen or list(result["systems"])


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def _figure(height_in: float) -> tuple[Figure, Axes]:
    with mpl.rc_context({"font.size": 11}):
        figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")
        return figure, figure.add_subplot()


def _finished(figure: Figure, axes: Axes, legend: str | None = "best") -> Figure:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if legend is not None:
        axes.legend(loc=legend, fontsize=9, framealpha=0.9)
    return figure


def _saved(figure: Figure, path: Path) -> Path:
    # Without the version in its metadata a plot of the same figures is the same file.
    figure.savefig(path, metadata={"Software": None})
    return path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.plots", description=__doc__)
    parser.add_argument("figures", type=Path, help="--json of python -m models.training.evaluate nights")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    try:
        for path in draw_nights(_read(options.figures), options.out):
            print(path)
    except MonitorError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{str(path)!r} cannot be read: {error}.", "Give the --json of evaluate."
        ) from error
    if not isinstance(stored, dict) or not {"systems", "scores", "hours"} <= stored.keys():
        raise ConfigError(f"{str(path)!r} is no evaluation on nights.", "Give the --json of evaluate nights.")
    return stored


if __name__ == "__main__":
    sys.exit(main())
