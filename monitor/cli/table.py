"""Tables: drawn by rich on a terminal, plain columns for everything else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows`` under ``head`` on stdout."""
    if sys.stdout.isatty():
        # Here and not above: a script that reads our output does not pay for rich.
        importlib.import_module("monitor.cli.drawn").draw_table(head, rows)
        return
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
