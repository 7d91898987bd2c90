"""A benchmark's result as one self-contained page: its tables in a page's look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from facekit.data.atomic import write_text_atomically
from facekit.evaluation.report.sections import short_name
from facekit.evaluation.tasks.questions import well_formed
from facekit.reports import Column, Section, Table, render_page

if TYPE_CHECKING:
    from rich.table import Table as TerminalTable

REPORT_NAME = "report.html"
_TEMPLATE = "evaluation/report/benchmark.html.jinja"


def write_benchmark_page(folder: str | Path, benchmark: str, model: str, tables: Sequence[TerminalTable]) -> Path:
    """Write ``report.html``.

    Args:
        folder: Where to write.
        benchmark: The benchmark's name for people.
        model: The model's name.
        tables: Of its result; each is a section.

    Returns:
        The page's path.
    """
    sections = [(Section.of("table", _words(table.title)), page_table(table)) for table in map(_titled, tables)]
    page = render_page(
        _TEMPLATE,
        kind=benchmark,
        title=short_name(model) or "A model without a name",
        contents=[section for section, _ in sections],
        sections=sections,
        note="",
        source="Every answer: answers.jsonl.",
    )
    return write_text_atomically(Path(folder) / REPORT_NAME, well_formed(page))


def page_table(table: Any) -> Table:
    """A terminal's table as one of a page."""
    columns = [Column(_words(column.header), is_number=column.justify == "right") for column in table.columns]
    words = [column.title for column in columns if not column.is_number]
    numbers = [column.title for column in columns if column.is_number]
    order = sorted(range(len(columns)), key=lambda index: columns[index].is_number)
    rows = zip(*(list(column.cells) for column in table.columns), strict=True)
    return Table.of(_words(table.title), words, numbers, [[_words(row[index]) for index in order] for row in rows])


def _words(cell: Any) -> str:
    """A cell's words without a terminal's markup."""
    return Text.from_markup(cell, emoji=False).plain if isinstance(cell, str) else str(cell)


def _titled(table: Any) -> Any:
    table.title = str(table.title or "Result")
    return table
