"""What is drawn on a terminal: tables and progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


def draw_table(head: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    table = Table(*head, header_style="bold")
    for row in rows:
        # As Text: a file called [red].wav is no markup.
        table.add_row(*(Text(cell) for cell in row))
    Console(file=stream).print(table)


def progress_bar() -> Progress:
    """A bar on stderr, so that stdout holds the results alone."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
