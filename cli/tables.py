"""Prints tables: without boxes where stdout is no terminal, as records where a table would be too wide."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_UNBOUNDED = 10_000
"""Width in columns of output to a pipe; wider than any table."""


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table for a terminal of any width or for a pipe.

    Args:
        table: its cells are texts; its box is chosen here.
        console: None for stdout.
    """
    console = console or Console()
    table.box = SIMPLE_HEAD if console.is_terminal else None
    options = console.options.update(max_width=_UNBOUNDED)
    if table.__rich_measure__(console, options).maximum <= console.width:
        console.print(table, highlight=False)
    else:
        _print_records(table, console)


def _print_records(table: Table, console: Console) -> None:
    """Each row as lines of column and value, with an empty line between rows."""
    if table.title:
        console.print(table.title, highlight=False)
    headers = [str(column.header) for column in table.columns]
    width = max(map(len, headers), default=0)
    rows = zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True)
    for number, row in enumerate(rows):
        if number:
            console.print()
        for header, cell in zip(headers, row, strict=True):
            if cell:
                console.print(f"{header:{width}}  {cell}", highlight=False, markup=False, soft_wrap=True)
