"""``read_sheet``: the cells of a spreadsheet (.xlsx) as text, without a package for it.

Such a file is a ZIP archive of XML (ECMA-376): cells name their place and either hold a number or point at a text that
all sheets share.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from xml.etree import ElementTree

from facekit.errors import RecordError

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_SHEET, _TEXTS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
_LARGEST_PART = 64 << 20
_FAULTS = (
    OSError, zipfile.BadZipFile, zlib.error, ElementTree.ParseError, KeyError, ValueError, IndexError, RuntimeError,
)  # fmt: skip
"""What a damaged file raises; ``RuntimeError`` for an encrypted one or a strange compression."""


def read_sheet(path: str | Path) -> list[dict[str, str]]:
    """Read the first sheet, whose first row has the names of the columns.

    Args:
        path: The file.

    Returns:
        One dictionary per further row, by column; cells that are empty are left out.

    Raises:
        RecordError: It cannot be read, or is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            texts = _texts(archive)
            rows = [_cells(row, texts) for row in _part(archive, _SHEET).iter(f"{_MAIN}row")]
    except _FAULTS as error:
        raise RecordError(f"{path} cannot be read as a spreadsheet ({error})") from error
    if not rows:
        raise RecordError(f"{path} is an empty spreadsheet")
    names = rows[0]
    return [{names[column]: text for column, text in row.items() if column in names} for row in rows[1:]]


def _part(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if archive.getinfo(name).file_size > _LARGEST_PART:
        raise ValueError(f"{name} has more than {_LARGEST_PART >> 20} MiB")
    return ElementTree.fromstring(archive.read(name))


def _texts(archive: zipfile.ZipFile) -> list[str]:
    """The shared texts; of one in several styles all pieces, without the readings of Asian words."""
    if _TEXTS not in archive.namelist():
        return []
    return [
        "".join(piece.text or "" for piece in [*item.findall(f"{_MAIN}t"), *item.findall(f"{_MAIN}r/{_MAIN}t")])
        for item in _part(archive, _TEXTS).iter(f"{_MAIN}si")
    ]


def _cells(row: ElementTree.Element, texts: list[str]) -> dict[str, str]:
    """Column letters to texts."""
    cells = {}
    for cell in row.iter(f"{_MAIN}c"):
        column = re.sub(r"\d", "", cell.attrib["r"])
        value = cell.findtext(f"{_MAIN}v")
        if cell.get("t") == "inlineStr":
            cells[column] = "".join(piece.text or "" for piece in cell.iter(f"{_MAIN}t"))
        elif value is not None:
            cells[column] = texts[_index(value)] if cell.get("t") == "s" else value
    return cells


def _index(value: str) -> int:
    index = int(value)
    if index < 0:
        raise IndexError(f"there is no shared text {index}")
    return index
