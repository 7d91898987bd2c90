"""Records as a ``datasets`` folder on disk (``load_from_disk``), ready for the hub; needs the extra ``datasets``.

Columns: ``id``, ``image`` (path or null), ``images`` (paths, of several pictures), ``video`` (paths; one for a video
file), ``conversations`` (role, content, task) and ``facekit`` (JSON text with everything else). Paths are relative to
the folder that the dataset's folder is in.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from facekit.compat.datasets import write_arrow
from facekit.data.formats.extras import KEY, build_record, extras_of, read_extras
from facekit.data.formats.folders import write_folder
from facekit.data.records import FaceRecord
from facekit.errors import MissingExtraError, RecordError

__all__ = ["read_hub_dataset", "read_row", "write_hub_dataset"]


def write_hub_dataset(records: Iterable[FaceRecord], path: Path) -> None:
    """Write a folder that ``datasets.load_from_disk`` reads; records stream through a file.

    Args:
        records: The records.
        path: The folder; it must not hold anything yet.

    Raises:
        MissingExtraError: ``datasets`` is not installed.
        ConfigurationError: The folder is not empty.
    """
    datasets = require_datasets()

    text = datasets.Value("string")
    turn = {"role": text, "content": text, "task": text}
    paths = datasets.List(text)
    columns = {
        "id": text, "image": text, "images": paths, "video": paths, "conversations": datasets.List(turn), KEY: text,
    }  # fmt: skip
    features = datasets.Features(columns)
    with write_folder(path) as folder, tempfile.TemporaryDirectory(dir=path.parent, prefix=".arrow.") as scratch:
        stream = Path(scratch) / "records.arrow"
        written = write_arrow(stream, features, map(_to_row, records))
        dataset = datasets.Dataset.from_file(str(stream))
        dataset.save_to_disk(str(folder), num_shards=None if written else 1)


def read_hub_dataset(path: Path) -> Iterator[FaceRecord]:
    """Read what ``write_hub_dataset`` wrote.

    Raises:
        MissingExtraError: ``datasets`` is not installed.
        RecordError: The folder is not such a dataset, or lacks a column.
    """
    datasets = require_datasets()
    try:
        dataset = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError) as error:
        raise RecordError(f"{path} is not a folder that datasets wrote ({error})") from error
    columns = set(getattr(dataset, "column_names", ()))
    lacking = sorted({"id", "image", "video", "conversations", KEY} - columns)
    if lacking:
        raise RecordError(f"{path} lacks the column '{lacking[0]}'; was it written by facekit?")
    for number, row in enumerate(dataset, 1):
        yield read_row(row, f"{path}, row {number}")


def read_row(row: Mapping[str, Any], where: str) -> FaceRecord:
    """A row of what ``write_hub_dataset`` wrote as a record.

    Args:
        row: Values by column.
        where: Folder and row, for messages.

    Raises:
        RecordError: It is none.
    """
    extras = read_extras(row[KEY], where) or {}
    video = row["video"] if extras.get("clip") == "frames" else (row["video"] or [None])[0]
    given = {"image": row["image"], "images": row.get("images") or None, "video": video}
    media = {name: value for name, value in given.items() if value is not None}
    turns = [(turn["role"], turn["content"]) for turn in row["conversations"]]
    extras["tasks"] = [turn["task"] for turn in row["conversations"]]
    return build_record(where, row["id"], media, turns, extras)


def _to_row(record: FaceRecord) -> dict[str, Any]:
    video = [record.video] if isinstance(record.video, str) else record.video
    extras = {name: value for name, value in extras_of(record).items() if name != "tasks"}
    return {
        "id": record.id,
        "image": record.image,
        "images": record.images or [],
        "video": video or [],
        "conversations": [turn.model_dump() for turn in record.conversations],
        KEY: json.dumps(extras, ensure_ascii=False, allow_nan=False),
    }


def require_datasets() -> Any:
    """The package; raises ``MissingExtraError`` where it is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("this format needs datasets; pip install 'facekit-mllm[datasets]'") from error
    datasets.disable_progress_bars()
    return datasets
