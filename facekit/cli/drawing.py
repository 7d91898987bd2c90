"""Tables in a terminal, whose words stay whole whatever its width.

Rich makes the widest columns narrower until a table fits, and cuts words where that is too little. Here a column is
never narrower than its longest word; a table for which there is no room then is a list of its rows.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.measure import Measurement
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_ANY_WIDTH = 1_000_000


def draw_table(table: Table, console: Console) -> None:
    """Print a table: in columns where all words fit, else as a list of its rows.

    The list has a heading for every row, the cell of the column that is not wrapped or else of the first one, and below
    it the other cells that are not empty, each with the name of its column.

    Args:
        table: A rich table without footers; its columns get a width each, and the last ones are left out where all
            of their cells are empty.
        console: Where it is printed.
    """
    while table.row_count and len(table.columns) > 1 and not any(table.columns[-1].cells):
        table.columns.pop()
    options = console.options.update(width=_ANY_WIDTH)
    least, longest = [], []
    for column in table.columns:
        heading, *cells = (Measurement.get(console, options, cell) for cell in (column.header, *column.cells))
        is_whole = column.no_wrap or column.justify == "right"  # as numbers with their units and intervals are
        longest.append(max(width.maximum for width in (heading, *cells)))
        narrowest = [width.maximum if is_whole else width.minimum for width in cells]
        least.append(max(heading.maximum if column.no_wrap else heading.minimum, *narrowest, 0))
    lines = Measurement.get(console, options, table).maximum - sum(longest)
    if sum(least) + lines > console.width:
        _list_rows(table, console.width)
        return
    for column, width in zip(table.columns, _share_out(console.width - lines, least, longest), strict=True):
        column.width = width
    console.print(table)


def plain_text(cell: Any) -> str:
    """A cell's text without markup, on one line and without tabs."""
    text = Text.from_markup(cell, emoji=False).plain if isinstance(cell, str) else str(cell)
    return " ".join(text.split())


def _share_out(room: int, least: Sequence[int], longest: Sequence[int]) -> list[int]:
    """Widths of columns, of which the one with the most lines gets the next character."""
    widths = list(least)
    for _ in range(min(room, sum(longest)) - sum(least)):
        index = max(range(len(widths)), key=lambda each: longest[each] / max(widths[each], 1))
        widths[index] += 1
    return widths


def _list_rows(table: Table, width: int) -> None:
    cells = [[plain_text(cell) for cell in (column.header, *column.cells)] for column in table.columns]
    if table.title:
        typer.echo("\n".join(_wrap(plain_text(table.title), width)) + "\n")
    names = [column[0] for column in cells]
    head = next((index for index, column in enumerate(table.columns) if column.no_wrap), 0)
    rows = list(zip(*(column[1:] for column in cells), strict=True))
    title = ""
    for number, row in enumerate(rows):
        title = row[head] or title  # an empty one stands below that of the row before
        typer.echo(("\n" if number else "") + typer.style(title, bold=True))
        for index, (name, cell) in enumerate(zip(names, row, strict=True)):
            if cell and index != head:
                lines = _wrap(f"{name}: {cell}", width, ("  ", "    "))
                typer.echo("\n".join(lines))


def _wrap(text: str, width: int, indents: tuple[str, str] = ("", "")) -> list[str]:
    """Lines of a text; the first has the first indent, all others the second."""
    first, others = indents
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
