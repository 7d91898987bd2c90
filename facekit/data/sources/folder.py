"""A user's own faces: a folder of pictures and videos, or a CSV with one face a line."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from facekit.data.labels import ALL_EXPRESSIONS, CELEBA_ATTRIBUTES, Expression, FaceLabels, age_group_of
from facekit.data.records import FaceRecord, describe_problem
from facekit.data.sources.base import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Source
from facekit.data.sources.tables import Row, read_lines, read_table
from facekit.errors import ConfigurationError, RecordError

__all__ = ["EXPRESSION_WORDS", "CsvTable", "PlainFolder"]

EXPRESSION_WORDS: dict[str, Expression] = {name: name for name in ALL_EXPRESSIONS} | {
    "happy": "happiness", "joy": "happiness", "sad": "sadness", "surprised": "surprise", "fearful": "fear",
    "afraid": "fear", "disgusted": "disgust", "angry": "anger", "normal": "neutral", "contemptuous": "contempt",
    "anxious": "anxiety", "helpless": "helplessness", "disappointed": "disappointment",
}  # fmt: skip
"""How folders and tables of users name expressions, in lower case."""

_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "-1": False}
_MEDIA = ("image", "video", "file", "path")
_GROUPS = ("age_group", "gender", "race", "ethnicity", "skin_tone")
_UNIT = re.compile(r"AU0*([1-9]\d?)")


class PlainFolder(Source):
    """Every picture and video under a folder.

    Args:
        root: The folder.
        labels: ``expression`` where the first folder under the root names the expression; None for no labels.
        **common: ``check_images``; there is no split.
    """

    name = "folder"
    layout = "pictures or videos, in the folder or in folders under it"

    def __init__(
        self,
        root: str | Path,
        *,
        labels: str | None = None,
        split: str | None = None,
        check_images: bool | str = False,
    ) -> None:
        if labels not in (None, "expression"):
            raise ConfigurationError(f"the option 'labels' of folder is expression, or left out, not {labels!r}")
        self.labels = labels
        super().__init__(root, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find at least one picture or video."""
        if next(self._media(), None) is None:
            raise RecordError(f"{self.root} has no picture or video; {self.name} expects {self.layout}")

    def read(self) -> Iterator[FaceRecord]:
        """Yield the files by folder and name."""
        for path in self._media():
            labels = FaceLabels()
            if self.labels == "expression":
                word = path.relative_to(self.root).parts[0].lower()
                if word not in EXPRESSION_WORDS:
                    self.summary.unmapped[word] += 1
                    continue
                labels = FaceLabels(expression=EXPRESSION_WORDS[word])
            yield self.record(path, labels=labels)

    def _media(self) -> Iterator[Path]:
        for folder, names, files in os.walk(self.root):
            names.sort()
            for name in sorted(files):
                if name.lower().endswith((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)):
                    yield Path(folder) / name


class CsvTable(Source):
    """A CSV with a header; empty cells are unknown.

    Columns that are read: one of ``image``, ``video``, ``file`` and ``path`` (relative to the CSV); ``id``;
    ``expression``, ``age``, ``manipulated``; action units (``AU12``, 0 to 5); CelebA's attributes by name (0 or 1);
    the groups ``age_group``, ``gender``, ``race``, ``ethnicity``, ``skin_tone``; ``split``. Others go to ``source``.

    Args:
        root: The CSV file, or a folder with ``labels.csv``.
        **common: ``split`` (any name that the column ``split`` has) and ``check_images``.
    """

    name = "csv"
    layout = "a .csv file, or a folder with labels.csv, whose header has one of image, video, file and path"
    splits = ("train", "validation", "test")

    def __init__(self, root: str | Path, *, split: str | None = None, check_images: bool | str = False) -> None:
        path = Path(root).expanduser()
        self.only = path if path.is_file() else None
        super().__init__(path.parent if self.only else path, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find the table and the column with the files."""
        self.table = self.only or self.need_file("labels.csv")
        number, line = next(read_lines(self.table), (1, ""))
        header = [name.strip() for name in next(csv.reader([line]), [])]
        self.medium = next((name for name in _MEDIA if name in header), None)
        if self.medium is None:
            raise RecordError(f"{self.table}, line {number}: the header lacks a column image, video, file or path")

    def read(self) -> Iterator[FaceRecord]:
        """Yield the faces in the order of the table."""
        for row in read_table(self.table):
            values = {name: value.strip() for name, value in row.values.items() if value.strip()}
            split = _split(values.pop("split", None))
            if self.split is None or split == self.split:
                yield self._record(Row(row.path, row.number, values), split)

    def _record(self, row: Row, split: str | None) -> FaceRecord:
        values = dict(row.values)
        name = row.text(str(self.medium))
        values.pop(str(self.medium))
        kind = "video" if Path(name).suffix.lower() in VIDEO_SUFFIXES else "image"
        identity = values.pop("id", None) or f"{self.name}/{name}"
        labels = _labels(row, values)
        groups = {attribute: values.pop(attribute) for attribute in _GROUPS if attribute in values}
        if labels.get("age") is not None and "age_group" not in groups:
            groups["age_group"] = age_group_of(labels["age"])
        record = {"id": identity, kind: name, "labels": labels, "groups": groups, "split": split}
        try:
            return FaceRecord.model_validate({**record, "source": {"dataset": self.name, **values}})
        except ValidationError as error:
            raise RecordError(f"{row.where}: {describe_problem(error)}") from error


def _split(name: str | None) -> str | None:
    return {"val": "validation", "valid": "validation", "dev": "validation"}.get(name, name) if name else None


def _labels(row: Row, values: dict[str, str]) -> dict[str, Any]:
    """Take the label columns out of the values."""
    labels: dict[str, Any] = {}
    if values.pop("expression", None) is not None:
        labels["expression"] = _lower(row).choose("expression", EXPRESSION_WORDS)
    if values.pop("manipulated", None) is not None:
        labels["manipulated"] = _lower(row).choose("manipulated", _TRUTH)
    if values.get("age") is not None:
        labels["age"] = _number(row, "age", values.pop("age"), 130.0)
    units = {name: match for name in values if (match := _UNIT.fullmatch(name))}
    if units:
        found = {f"AU{match[1]}": _number(row, name, values.pop(name), 5.0) for name, match in units.items()}
        labels["action_units"] = found
    attributes = [name for name in CELEBA_ATTRIBUTES if name in values]
    if attributes:
        labels["attributes"] = {name: _lower(row).choose(name, _TRUTH) for name in attributes}
        for name in attributes:
            del values[name]
    return labels


def _lower(row: Row) -> Row:
    lowered: Mapping[str, str] = {name: value.lower() for name, value in row.values.items()}
    return Row(row.path, row.number, lowered)


def _number(row: Row, name: str, text: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value <= most:
        raise RecordError(f"{row.where}: '{name}' must be a number from 0 to {most:g}, not {text!r}")
    return value
