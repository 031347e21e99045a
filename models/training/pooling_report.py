"""The pooling study's tables: on the terminal, in Markdown and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from models.training.metrics import Interval
from models.training.pooling_scores import Cell, Figure, TaskName

GAIN_OF: Final[Mapping[TaskName, str]] = {"detection": "AP", "cause": "balanced"}
"""What gains are gains of: average precision, or balanced accuracy."""


def _figure(figure: Figure) -> str:
    text = f"{figure.mean:.3f}"
    if not math.isnan(figure.spread):
        text += f" ± {figure.spread:.3f}"
    return text if math.isnan(figure.low) else f"{text} [{figure.low:.3f}, {figure.high:.3f}]"


def _gain(gain: Interval) -> str:
    return "" if math.isnan(gain.value) else f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def rows_of(cells: Sequence[Cell], task: TaskName) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of one task's table."""
    own = [cell for cell in cells if cell.task == task]
    names = list(own[0].figures)
    gains = [f"{GAIN_OF[task]} over {reference}" for reference in ("mean", "mn04")]
    heading = ["trunk", "head", "weights", "seeds", *names, *gains]
    rows = [
        [
            cell.trunk,
            cell.head,
            f"{cell.head_parameters:,}",
            str(cell.n_seeds),
            *(_figure(cell.figures[name]) for name in names),
            _gain(cell.over_mean),
            _gain(cell.over_frozen),
        ]
        for cell in own
    ]
    return heading, rows


def markdown(cells: Sequence[Cell], task: TaskName) -> str:
    heading, rows = rows_of(cells, task)
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def show(console: Console, cells: Sequence[Cell], task: TaskName) -> None:
    heading, rows = rows_of(cells, task)
    table = Table(title=task)
    for k, name in enumerate(heading):
        table.add_column(name, justify="left" if k < 2 else "right", no_wrap=k >= 2)
    for row in rows:
        # An interval under its figure: nine columns side by side fit few terminals.
        table.add_row(*(text.replace(" [", "\n[") for text in row))
    console.print(table)


def write(out: Path, cells: Sequence[Cell], notes: Sequence[str], recipe: Mapping[str, Any]) -> None:
    """``pooling.json`` and ``pooling.md`` into ``out``."""
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    tables = [f"## {task}\n\n{markdown(cells, task)}" for task in tasks]
    said = "\n".join(f"- {note}" for note in notes)
    (out / "pooling.md").write_text("\n\n".join(["# Pooling study", said, *tables]) + "\n")
    document = {"notes": list(notes), "recipe": recipe, "cells": [_known(asdict(cell)) for cell in cells]}
    (out / "pooling.json").write_text(json.dumps(document, indent=2, allow_nan=False))


def _known(value: Any) -> Any:
    """JSON has no nan: what is not known is null."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
