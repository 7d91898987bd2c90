"""Tables of a page, as data: the template's macro ``table`` draws them in a box of their own that scrolls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOTHING = "–"
_PHRASE, _LONG = 12, 30


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        title: Its heading.
        is_number: Numbers stand at the right and are not broken.
    """

    title: str
    is_number: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell that is more than its text.

    Args:
        text: What it says.
        note: A second, smaller line, such as an interval.
        kind: ``strong``, ``good`` or ``bad``; a plain cell has none.
    """

    text: str
    note: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        columns: The columns from left to right.
        rows: One tuple of cells per row; see ``of``, which also takes plain values.
        label: What the table shows, for readers that cannot see it.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    label: str

    @classmethod
    def of(
        cls, label: str, words: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[Cell | str | int | None]]
    ) -> Table:
        """Make a table whose first columns are words and whose other columns are numbers.

        Args:
            label: What the table shows.
            words: Headings of the columns with words.
            numbers: Headings of the columns with numbers.
            rows: Cells; whole numbers get commas, and None or an empty text becomes a dash.

        Raises:
            ValueError: A row is not as long as the headings.
        """
        columns = (*(Column(title) for title in words), *(Column(title, is_number=True) for title in numbers))
        made = tuple(tuple(map(_cell, row)) for row in rows)
        for row in made:
            if len(row) != len(columns):
                raise ValueError(f"a row of the table '{label}' has {len(row)} cells for {len(columns)} columns")
        return cls(columns, made, label)

    def classes(self, index: int, cell: Cell) -> str | None:
        """What a cell of a column looks like, as names of the style sheet; None for a plain one."""
        return " ".join(name for name in (self._room(index), cell.kind) if name) or None

    def _room(self, index: int) -> str:
        """Numbers stay on one line, and running text is given room before it is broken into lines."""
        if self.columns[index].is_number:
            return "number"
        texts = [row[index].text for row in self.rows if " " in row[index].text or len(row[index].text) > _LONG]
        longest = max(map(len, texts), default=0)
        return "long" if longest > _LONG else "phrase" if longest > _PHRASE else ""


def _cell(value: Cell | str | int | None) -> Cell:
    if isinstance(value, Cell):
        return value if value.text else Cell(NOTHING, value.note)
    if value is None or value == "":
        return Cell(NOTHING)
    return Cell(f"{value:,}" if isinstance(value, int) else value)
