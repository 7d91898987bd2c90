"""Label files read row by row, with errors that give file and line."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from facekit.errors import RecordError

__all__ = ["Row", "read_header", "read_lines", "read_table"]

Value = TypeVar("Value")
_MOST_NAMED = 14
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Row:
    """One row of a label file, or the parts of one file name.

    Args:
        path: The file.
        number: The line, counted from 1; None where the labels are in the name of the file.
        values: The cells by column.
    """

    path: Path
    number: int | None
    values: Mapping[str, str]

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"file name {self.path}" if self.number is None else f"{self.path}, line {self.number}"

    def text(self, column: str) -> str:
        """The words in a cell; raises ``RecordError`` where it is empty."""
        value = self.values.get(column, "").strip()
        if not value:
            raise RecordError(f"{self.where}: the field '{column}' is empty")
        return value

    def integer(self, column: str, low: int, high: int) -> int:
        """The whole number in a cell; raises ``RecordError`` where there is none between ``low`` and ``high``."""
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (low <= value <= high and value == int(value)):
            raise RecordError(f"{self.where}: '{column}' must be a whole number from {low} to {high}, not {text!r}")
        return int(value)

    def choose(self, column: str, table: Mapping[str, Value]) -> Value:
        """What a table has for a cell; raises ``RecordError`` where it has nothing."""
        text = self.text(column)
        if text not in table:
            names = [repr(name) for name in table]
            known = ", ".join([*names[:_MOST_NAMED], "…"] if len(names) > _MOST_NAMED else names)
            raise RecordError(f"{self.where}: '{column}' must be one of {known}, not {text!r}")
        return table[text]


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file that are not blank, with their numbers from 1.

    Raises:
        RecordError: The file cannot be opened or is not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline=None) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def read_table(
    path: Path,
    *,
    required: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    delimiter: str | None = ",",
    rename: Callable[[str], str] = str.strip,
) -> Iterator[Row]:
    """Yield the rows of a label file; cells in quotes may hold delimiters and newlines.

    Args:
        path: The file.
        required: Columns that its header must have.
        columns: The columns, for a file without a header.
        delimiter: What stands between cells; None for any run of spaces and tabs.
        rename: What a column of the header is called in the rows.

    Raises:
        RecordError: The file cannot be read, lacks a column, has two of one name, or a row has another number of cells
            than there are columns.
    """
    names = list(columns) if columns is not None else None
    for number, cells in _read_cells(path, delimiter):
        if names is None:
            names = [rename(cell) for cell in cells]
            _check_header(names, required, f"{path}, line {number}")
            continue
        if len(cells) != len(names):
            line = (delimiter or " ").join(cells)
            raise RecordError(
                f"{path}, line {number}: {len(cells)} cells where {len(names)} are expected: {line[:60]!r}"
            )
        yield Row(path, number, dict(zip(names, cells, strict=True)))
    if names is None:
        raise RecordError(f"the label file {path} is empty; fetch it again")


def read_header(path: Path) -> tuple[list[str], str]:
    """The columns of a table as they are written, and its delimiter: the one that its first line has most of.

    Raises:
        RecordError: The file cannot be read or is empty.
    """
    number, line = next(read_lines(path), (1, ""))
    bare = re.sub(r'"[^"]*"', "", line)
    delimiter = max(_DELIMITERS, key=bare.count)
    if not line:
        raise RecordError(f"the label file {path} is empty; fetch it again")
    return [name.strip() for name in _split_line(line, delimiter, f"{path}, line {number}")], delimiter


def _read_cells(path: Path, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """The cells of every row that is not blank, with the line on which it begins."""
    if delimiter is None:
        yield from ((number, line.split()) for number, line in read_lines(path))
        return
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells) or len(cells) > 1:
                    yield number + 1, cells
                number = reader.line_num
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    except csv.Error as error:
        raise RecordError(
            f"{path}, line {number + 1}: not a row of a table ({error}); is a quote left open there?"
        ) from error


def _check_header(names: list[str], required: Sequence[str], where: str) -> None:
    lacking = [name for name in required if name not in names]
    if lacking:
        raise RecordError(f"{where}: the header lacks {', '.join(map(repr, lacking))}; it has {', '.join(names)}")
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise RecordError(f"{where}: the header has {', '.join(map(repr, twice))} twice; rename or remove one")


def _split_line(line: str, delimiter: str | None, where: str) -> list[str]:
    if delimiter is None:
        return line.split()
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error as error:
        raise RecordError(f"{where}: not a row of a table ({error})") from error


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> RecordError:
    if isinstance(error, OSError):
        return RecordError(f"the label file {path} cannot be opened ({error.strerror}); check the path")
    return RecordError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8, in Excel as 'CSV UTF-8'")
