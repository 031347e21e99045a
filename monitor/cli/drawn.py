"""What is drawn on a terminal: tables and progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_NEVER_FOLDED: Final = 14
"""Narrow columns, times and numbers, stay whole; the wide ones share what is left."""


def draw_table(head: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    table = Table(header_style="bold")
    for index, title in enumerate(head):
        widest = max(len(row[index]) for row in [head, *rows])
        table.add_column(title, no_wrap=widest <= _NEVER_FOLDED, overflow="fold")
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
