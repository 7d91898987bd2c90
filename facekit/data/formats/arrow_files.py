"""Rows of Parquet and Arrow files, one at a time: a file, or a folder as ``datasets`` and the hub lay it out.

Layouts: what ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk`` write (``state.json``, ``dataset_dict.json``), a
folder of ``.parquet`` or ``.arrow`` files whose names begin with the split (``data/train-00000-of-00002.parquet``), and
``imagefolder`` with ``metadata.csv``, ``.jsonl`` or ``.parquet`` beside the pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.data.formats.json_stream import iterate_json_objects
from facekit.data.sources.columns import split_in_name, split_name
from facekit.data.sources.tables import read_header, read_table
from facekit.errors import MissingExtraError, RecordError, first_line

__all__ = ["METADATA", "SUFFIXES", "TableRow", "iterate_rows", "list_tables", "table_columns"]

SUFFIXES = (".parquet", ".arrow")
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")

_BATCH = 256
_DICT, _STATE = "dataset_dict.json", "state.json"


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Args:
        path: The file.
        number: The row's number in it, from 1.
        values: Values by column, with class labels by their names.
        split: The split that the layout gives it.
    """

    path: Path
    number: int
    values: Mapping[str, Any]
    split: str | None


def list_tables(path: Path) -> list[tuple[Path, str | None]]:
    """The files of a table or of a folder of tables, in order, each with its split.

    Raises:
        RecordError: A folder's description is damaged, or a file that it names is not there.
    """
    if path.is_file():
        return [(path, split_in_name(path.stem))]
    if (path / _DICT).is_file():
        names = _read_json(path / _DICT).get("splits", [])
        return [(file, split_name(name)) for name in names for file, _ in list_tables(path / str(name))]
    if (path / _STATE).is_file():
        files = [path / entry["filename"] for entry in _read_json(path / _STATE).get("_data_files", [])]
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            raise RecordError(f"{path / _STATE} names {missing.name}, which is not there; copy the folder again")
        return [(file, None) for file in files]
    metadata = [file for name in METADATA for file in sorted(path.rglob(name))]
    if metadata:
        return [(file, _split_of(file.parent.relative_to(path))) for file in sorted(metadata)]
    files = [file for suffix in SUFFIXES for file in path.rglob(f"*{suffix}")]
    return [(file, _split_of(file.relative_to(path))) for file in sorted(files)]


def table_columns(path: Path) -> dict[str, str]:
    """The columns of a file, with the type of each as Arrow writes it; of CSV and JSON lines without types.

    Raises:
        MissingExtraError: ``pyarrow`` is not installed.
        RecordError: The file is damaged.
    """
    if path.suffix == ".csv":
        return dict.fromkeys(read_header(path)[0], "string")
    if path.suffix == ".jsonl":
        return dict.fromkeys(next(iterate_json_objects(path), (0, {}))[1], "")
    with _explained(path):
        schema = _open(path)[0]
        return {field.name: str(field.type) for field in schema}


def iterate_rows(path: Path, split: str | None) -> Iterator[TableRow]:
    """The rows of a file, in order.

    Args:
        path: Of ``list_tables``.
        split: Its split.

    Raises:
        MissingExtraError: ``pyarrow`` is not installed.
        RecordError: The file is damaged.
    """
    if path.suffix == ".csv":
        for row in read_table(path):
            yield TableRow(path, row.number or 0, row.values, split)
        return
    if path.suffix == ".jsonl":
        for number, sample in iterate_json_objects(path):
            yield TableRow(path, number, sample, split)
        return
    number = 0
    with _explained(path):
        schema, batches = _open(path)
        classes = _class_names(schema)
        for batch in batches:
            for values in batch.to_pylist():
                number += 1
                yield TableRow(path, number, _with_names(values, classes), split)


class _explained:  # noqa: N801 - reads as a statement
    """Turn what Arrow raises into ``RecordError``; a generator's own errors pass."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (OSError, ValueError)) and not isinstance(error, RecordError):
            raise RecordError(
                f"{self.path} cannot be read as a table ({first_line(error)}); write or copy it again"
            ) from error


def _open(path: Path) -> tuple[Any, Iterator[Any]]:
    """The schema and the batches of a file."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("tables need pyarrow; pip install 'facekit-mllm[datasets]'") from error
    if path.suffix == ".parquet":
        table = pyarrow.parquet.ParquetFile(path)
        return table.schema_arrow, table.iter_batches(_BATCH)
    source = pyarrow.memory_map(str(path))
    try:
        stream = pyarrow.ipc.open_stream(source)
        return stream.schema, iter(stream)
    except pyarrow.ArrowInvalid:
        file = pyarrow.ipc.open_file(source)
        return file.schema, (file.get_batch(index) for index in range(file.num_record_batches))


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The names of the classes of each column that ``datasets`` knows as ``ClassLabel``."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: each["names"] for name, each in features.items() if each.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _with_names(values: dict[str, Any], classes: Mapping[str, list[str]]) -> dict[str, Any]:
    for name, names in classes.items():
        index = values.get(name)
        if isinstance(index, int):
            values[name] = names[index] if 0 <= index < len(names) else None
    return values


def _split_of(name: Path) -> str | None:
    """The split that the outermost folder, or else the file, is named after."""
    return next((found for part in name.parts if (found := split_in_name(part))), None)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{path} cannot be read ({first_line(error)}); copy the folder again") from error
