"""Records of tables: Parquet and Arrow files and ``datasets`` folders that facekit did not write.

Columns are known by name, in any case (``facekit.data.sources.columns``): the medium as a path or, as ``datasets``
keeps pictures, inside the table; ``conversations`` or ``messages``, or ``question`` and ``answer``; ``landmarks``;
labels, groups, ``id``, ``split``, ``license`` and ``consent``; of two pictures ``same``. Whatever else is a single
value goes to ``source``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from facekit.data.formats.arrow_files import TableRow, iterate_rows, list_tables, table_columns
from facekit.data.formats.chat import read_sample
from facekit.data.formats.extras import KEY
from facekit.data.formats.hub import read_row
from facekit.data.records import FaceRecord, describe_problem
from facekit.data.sources.columns import (
    EXPRESSION_WORDS,
    MEDIA_COLUMNS,
    TERM_COLUMNS,
    canonical_column,
    split_name,
    take_groups,
    take_labels,
    take_truth,
)
from facekit.data.sources.tables import Row
from facekit.errors import RecordError
from facekit.faces.file_kinds import kind_of_contents, kind_of_name

__all__ = ["holds_media", "read_tables"]

logger = logging.getLogger(__name__)

_MEDIA = (*MEDIA_COLUMNS, "images", "videos")
_WORDS = ("conversations", "messages")
_OWN = {"id", "image", "video", "conversations", KEY}
_LABEL = ("label", "labels", "emotion")


def holds_media(path: Path) -> bool:
    """Whether the pictures or clips of a table are inside it, rather than named by their paths."""
    for file, _ in list_tables(path)[:1]:
        types = {canonical_column(name): kind for name, kind in table_columns(file).items()}
        return any("binary" in types.get(name, "") for name in _MEDIA)
    return False


def read_tables(path: Path, *, extract_to: Path | None = None) -> Iterator[FaceRecord]:
    """Read the records of a file or folder of tables.

    Args:
        path: A ``.parquet`` or ``.arrow`` file; or a folder, see ``facekit.data.formats.arrow_files``.
        extract_to: The folder that media inside a table are written to; of others the one that paths are relative to.

    Yields:
        Records with paths relative to ``extract_to``, or to the folder that ``path`` is in. A second record of the same
        id gets its number added.

    Raises:
        MissingExtraError: ``pyarrow`` is not installed.
        RecordError: There is no table or no column with media or words, a row is malformed, or media are inside and
            ``extract_to`` is None.
    """
    tables = list_tables(path)
    if not tables:
        raise RecordError(f"{path} has no table; give a .parquet or .arrow file, or a folder of them")
    is_inside = holds_media(path)
    if is_inside and extract_to is None:
        raise RecordError(
            f"{path} has its pictures inside; name a folder for them with --media (in Python, media_folder=)"
        )
    seen: set[str] = set()
    number = 0
    for file, split in tables:
        _check_columns(file)
        reader = _RowReader(path, file, extract_to, is_inside=is_inside)
        for row in iterate_rows(file, split):
            record = reader.read(row, number)
            number += 1
            if record.id in seen:
                record = record.model_copy(update={"id": f"{record.id}-{number}"})
            seen.add(record.id)
            yield record


def _check_columns(file: Path) -> None:
    columns = table_columns(file)
    known = {canonical_column(name) for name in columns}
    if not known & {*_MEDIA, *_WORDS, "question"}:
        raise RecordError(
            f"{file} has no column with pictures, clips or words ({', '.join((*_MEDIA, *_WORDS, 'question'))}); it has "
            f"{', '.join(columns)}: rename them"
        )


class _RowReader:
    """Rows of a file as records.

    Args:
        path: What was named, the file or a folder.
        file: The file.
        media: Where media go that are inside; of those named by paths the folder, None for that of the file.
        is_inside: Whether they are inside.
    """

    def __init__(self, path: Path, file: Path, media: Path | None, *, is_inside: bool) -> None:
        self.path, self.file, self.extract_to = path, file, media if is_inside else None
        self._prefix = file.parent.relative_to(path.parent).as_posix() if media is None else "."
        self._ignored: set[str] = set()

    def read(self, row: TableRow, number: int) -> FaceRecord:
        """The record of a row.

        Args:
            row: The row.
            number: Its number among all rows, from 0.

        Raises:
            RecordError: It is malformed.
        """
        where = f"{self.file}, row {row.number}"
        if row.values.keys() >= _OWN:
            record = read_row(row.values, where)
            return record if row.split is None or record.split else record.model_copy(update={"split": row.split})
        values = {canonical_column(name): value for name, value in row.values.items() if value is not None}
        identity = str(values.pop("id", f"{self.path.stem}-{number}"))
        media = self._media(values, where, number)
        sample = {"id": identity, **media, "conversations": _turns(values)}
        landmarks = values.pop("landmarks", None)
        _name_label(values)
        cells = self._cells(values)
        same = take_truth(cells, "same") if len(media.get("images", ())) == 2 else None
        try:
            labels = take_labels(Row(self.file, row.number, dict(cells)), cells)
        except RecordError as error:
            raise RecordError(str(error).replace(f", line {row.number}", f", row {row.number}")) from error
        groups = take_groups(cells, labels.get("age"))
        split = split_name(cells.pop("split", None)) or row.split
        terms = {name: cells.pop(name) for name in TERM_COLUMNS if name in cells}
        base = read_sample(sample, where)
        changes = {
            "labels": labels, "same": same, "groups": groups, "split": split, "landmarks": landmarks,
            "source": {"dataset": self.path.stem, **{name: row.values.get(name, cell) for name, cell in cells.items()}},
            **terms,
        }  # fmt: skip
        try:
            return FaceRecord.model_validate({**base.model_dump(), **changes})
        except ValidationError as error:
            raise RecordError(f"{where}: {describe_problem(error)}") from error

    def _media(self, values: dict[str, Any], where: str, number: int) -> dict[str, Any]:
        """Take the media out of a row, as the field of a record."""
        found = [(name, values.pop(name)) for name in _MEDIA if values.get(name)]
        if not found:
            return {}
        column, value = found[0]
        parts = value if isinstance(value, list) else [value]
        names = [self._place(part, where, f"{number:09d}.{index:04d}") for index, part in enumerate(parts)]
        if not names:
            return {}
        is_video = "video" in column or kind_of_name(names[0]) == "video"
        if is_video:
            return {"video": names[0] if len(names) == 1 else names}
        return {"image": names[0]} if len(names) == 1 else {"images": names}

    def _place(self, part: Any, where: str, name: str) -> str:
        """The path of a medium, which is written where it is inside the table."""
        content = part.get("bytes") if isinstance(part, Mapping) else part
        given = part.get("path") if isinstance(part, Mapping) else None
        if isinstance(content, (bytes, bytearray)):
            assert self.extract_to is not None
            suffix = Path(str(given or "")).suffix.lower() or _suffix_of(bytes(content))
            target = self.extract_to / "media" / f"{name}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_file() or target.read_bytes() != content:
                target.write_bytes(content)
            return f"media/{name}{suffix}"
        path = given if isinstance(part, Mapping) else part
        if not isinstance(path, str) or not path:
            raise RecordError(f"{where}: the medium is neither a path nor a file's content, but {part!r:.60}")
        if "://" in path or Path(path).is_absolute() or self._prefix == ".":
            return path
        return f"{self._prefix}/{path}"

    def _cells(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Single values as words, as a CSV file has them; others are named once."""
        cells = {}
        for name, value in values.items():
            if isinstance(value, bool):
                cells[name] = str(int(value))
            elif isinstance(value, (str, int, float)) and str(value).strip() and str(value) != "nan":
                cells[name] = str(value).strip()
            elif not isinstance(value, (str, float)) and name not in self._ignored:
                self._ignored.add(name)
                logger.warning("%s: the column '%s' holds neither words nor numbers and is left out", self.file, name)
        return cells


def _turns(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the conversation out of a row."""
    for name in _WORDS:
        if name in values:
            return list(values.pop(name))
    question, answer = values.get("question"), values.get("answer")
    if isinstance(question, str) and isinstance(answer, str):
        del values["question"], values["answer"]
        return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return []


def _name_label(values: dict[str, Any]) -> None:
    """Call the one label of a table an expression, where it is one."""
    name = next((name for name in _LABEL if isinstance(values.get(name), str)), None)
    if name is not None and "expression" not in values and values[name].strip().lower() in EXPRESSION_WORDS:
        values["expression"] = values.pop(name)


def _suffix_of(content: bytes) -> str:
    if kind_of_contents(content) == "video":
        return ".mp4"
    return ".png" if content.startswith(b"\x89PNG") else ".jpg"
