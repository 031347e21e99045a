"""Tables: drawn by rich on a terminal, plain columns for everything else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from monitor.words import plain


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> None:
    """Print ``rows`` under ``head``, on stdout if nothing else is said. Cells may hold anything."""
    stream = sys.stdout if stream is None else stream
    rows = [[plain(cell, None) for cell in row] for row in rows]
    if stream.isatty():
        # Not above: a script that reads our output does not pay for rich.
        from monitor.cli.drawn import draw_table  # noqa: PLC0415

        draw_table(head, rows, stream)
        return
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip(), file=stream)
