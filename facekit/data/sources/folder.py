"""A user's own faces: a folder of pictures and videos, or a CSV with one face a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from facekit.counted import counted
from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord, describe_problem
from facekit.data.sources.base import Source
from facekit.data.sources.columns import (
    EXPRESSION_WORDS,
    GROUP_COLUMNS,
    MEDIA_COLUMNS,
    TERM_COLUMNS,
    canonical_column,
    list_other_columns,
    split_name,
    take_groups,
    take_labels,
)
from facekit.data.sources.file_walk import FoundFile, walk_files
from facekit.data.sources.summary import Problems
from facekit.data.sources.tables import Row, read_header, read_table
from facekit.errors import ConfigurationError, RecordError
from facekit.faces.file_kinds import kind_of_name

__all__ = ["EXPRESSION_WORDS", "CsvTable", "PlainFolder"]


class PlainFolder(Source):
    """Every picture and video under a folder, in any format; what each file is and becomes is in the summary.

    Linked folders are followed, each once. See ``facekit.faces.file_kinds`` for what is a picture or a video.

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
        others: Counter[str] = Counter()
        for file in walk_files(self.root):
            if file.outcome == "media":
                return
            others[file.reason] += 1
        held = ", ".join(f"{number:,} {reason}" for reason, number in others.most_common(8)) or "nothing"
        raise RecordError(
            f"{self.root} has no picture or video; {self.name} expects {self.layout}, and there is: {held}"
        )

    def read(self) -> Iterator[FaceRecord]:
        """Yield the files by folder and name; those that links lead to come last."""
        self.summary.found = 0
        for file in walk_files(self.root):
            self.summary.found += 1
            if file.outcome == "media":
                yield from self._labelled(file)
            elif file.outcome == "other":
                self.summary.other[file.reason] += 1
            elif file.outcome == "failed":
                self.summary.failed.setdefault(file.reason, Problems()).add(file.path)
            else:
                self.summary.linked.add(file.path)

    def _labelled(self, file: FoundFile) -> Iterator[FaceRecord]:
        labels = FaceLabels()
        if self.labels == "expression":
            word = file.path.relative_to(self.root).parts[0].lower()
            if word not in EXPRESSION_WORDS:
                self.summary.unmapped[word] += 1
                return
            labels = FaceLabels(expression=EXPRESSION_WORDS[word])
        yield self.record(file.path, labels=labels, kind=file.kind)


class CsvTable(Source):
    """A table with a header, one face a row; empty cells are unknown.

    Columns that are read, in any case: one of ``image``, ``video``, ``file`` and ``path`` (relative to the CSV; also
    ``filename``, ``image_path`` and the like); ``id``; ``expression``, ``age`` (in years; a band such as ``20-29`` is
    the group ``age_group``), ``manipulated``; action units
    (``AU12``, 0 to 5); CelebA's attributes by name (0 or 1); the groups ``age_group``, ``gender``, ``race``,
    ``ethnicity``, ``skin_tone``; ``split``; ``license`` and ``consent``. Others go to ``source``.
    Commas, semicolons, tabs or ``|`` stand between cells. A row that another one repeats is left out and named in the
    summary.

    Args:
        root: The CSV file, or a folder with ``labels.csv``.
        labels: ``none`` where a table has columns and none of them is a label; otherwise that is an error.
        **common: ``split`` (any name that the column ``split`` has) and ``check_images``.
    """

    name = "csv"
    layout = "a .csv file, or a folder with labels.csv, whose header has one of image, video, file and path"
    splits = ("train", "validation", "test")
    is_own_table = True

    def __init__(
        self,
        root: str | Path,
        *,
        labels: str | None = None,
        split: str | None = None,
        check_images: bool | str = False,
    ) -> None:
        if labels not in (None, "none"):
            raise ConfigurationError(f"the option 'labels' of csv is none, or left out, not {labels!r}")
        path = Path(root).expanduser()
        self.only = path if path.is_file() else None
        self.needs_labels = labels is None
        super().__init__(path.parent if self.only else path, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find the table and the column with the files."""
        self.table = self.only or self.need_file("labels.csv")
        self.columns, self.delimiter = read_header(self.table)
        known = [canonical_column(name) for name in self.columns]
        self.medium = next((name for name in MEDIA_COLUMNS if name in known), None)
        if self.medium is None:
            raise RecordError(
                f"{self.table}, line 1: the header lacks a column image, video, file or path; it has "
                f"{', '.join(self.columns)}"
            )
        self.has_others = any(
            name not in (*MEDIA_COLUMNS, *GROUP_COLUMNS, *TERM_COLUMNS, "id", "split") for name in known
        )

    def read(self) -> Iterator[FaceRecord]:
        """Yield the faces in the order of the table."""
        self.summary.other_columns = list_other_columns(self.columns)
        seen: dict[str, tuple[int | None, int]] = {}
        splits: set[str] = set()
        rows = labelled = 0
        for row in read_table(self.table, delimiter=self.delimiter, rename=canonical_column):
            values = {name: value.strip() for name, value in row.values.items() if value.strip()}
            split = split_name(values.pop("split", None))
            record = self._record(Row(row.path, row.number, values), split)
            splits.update([split] if split else [])
            rows += 1
            labelled += record.labels != FaceLabels()
            contents = hash(record.model_dump_json())
            line, before = seen.setdefault(record.id, (row.number, contents))
            if line != row.number:
                if before != contents:
                    raise RecordError(
                        f"{row.where}: line {line} has the same face, {record.id!r}, with other values; remove one, or "
                        "give each an id in a column id"
                    )
                self.summary.repeated.add(f"line {row.number} repeats line {line} ({record.id})")
            elif self.split is None or split == self.split:
                yield record
        self.check_split(self.table, splits)
        if rows and not labelled and self.needs_labels and self.has_others:
            raise RecordError(
                f"0 of {counted(rows, 'row')} of {self.table} have a label; its columns are "
                f"{', '.join(self.columns)}, and "
                "labels are read from expression, age, manipulated, AU12 and the like, and CelebA's names: rename the "
                "columns, or add ?labels=none"
            )

    def _record(self, row: Row, split: str | None) -> FaceRecord:
        values = dict(row.values)
        name = row.text(str(self.medium))
        values.pop(str(self.medium))
        kind = "video" if kind_of_name(name) == "video" or self.medium == "video" else "image"
        identity = values.pop("id", None) or f"{self.name}/{name}"
        labels = take_labels(row, values)
        groups = take_groups(values, labels.get("age"))
        record = {"id": identity, kind: name, "labels": labels, "groups": groups, "split": split}
        record |= {name: values.pop(name) for name in TERM_COLUMNS if name in values}
        try:
            return FaceRecord.model_validate({**record, "source": {"dataset": self.name, **values}})
        except ValidationError as error:
            raise RecordError(f"{row.where}: {describe_problem(error)}") from error
