"""Pairs of pictures with the truth whether both show the same person: a user's own table, for face verification.

Both pictures are the user's, of people who agreed to it. Nothing here looks for a person among others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from facekit.data.labels import VERIFICATION
from facekit.data.records import FaceRecord, Turn, describe_problem
from facekit.data.sources.base import Source
from facekit.data.sources.columns import TERM_COLUMNS, canonical_column, list_other_columns, split_name, take_groups
from facekit.data.sources.tables import Row, read_header, read_table
from facekit.errors import RecordError

__all__ = ["QUESTION", "PairTable"]

QUESTION = "Do these two pictures show the same person?"

_TRUTH = {
    "1": True, "true": True, "yes": True, "same": True, "genuine": True,
    "0": False, "-1": False, "false": False, "no": False, "different": False, "impostor": False,
}  # fmt: skip
_NEEDED = ("first", "second", "same")
_READ = (*_NEEDED, "person_first", "person_second", "fold")
"""Columns of the table that are read here or by ``facekit bench pairs``."""


def _name_of(column: str) -> str:
    return canonical_column(column).casefold()


class PairTable(Source):
    """A table ``first,second,same``, one pair a row, with the question and its answer.

    Columns, in any case: ``first`` and ``second`` (pictures, relative to the table), ``same`` (1 or 0, yes or no);
    ``id``; the groups ``age_group``, ``gender``, ``race``, ``ethnicity``, ``skin_tone``; ``split``; ``license`` and
    ``consent``. Others, such as ``person_first`` and ``person_second``, go to ``source``. It is the table of ``facekit
    bench pairs``.

    Args:
        root: The CSV file, or a folder with ``pairs.csv``.
        **common: ``split`` (any name that the column ``split`` has) and ``check_images``.
    """

    name = "pairs"
    layout = "a .csv file, or a folder with pairs.csv, whose header has first, second and same"
    splits = ("train", "validation", "test")
    is_own_table = True

    def __init__(self, root: str | Path, *, split: str | None = None, check_images: bool | str = False) -> None:
        path = Path(root).expanduser()
        self.only = path if path.is_file() else None
        super().__init__(path.parent if self.only else path, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find the table and its columns."""
        self.table = self.only or self.need_file("pairs.csv")
        self.columns, self.delimiter = read_header(self.table)
        known = [_name_of(name) for name in self.columns]
        missing = next((name for name in _NEEDED if name not in known), None)
        if missing is not None:
            raise RecordError(
                f"{self.table}, line 1: the header lacks a column {missing}; it has {', '.join(self.columns)}"
            )

    def read(self) -> Iterator[FaceRecord]:
        """Yield the pairs in the order of the table."""
        self.summary.other_columns = list_other_columns([name for name in self.columns if _name_of(name) not in _READ])
        lines: dict[str, int | None] = {}
        splits: set[str] = set()
        for row in read_table(self.table, delimiter=self.delimiter, rename=_name_of):
            values = {name: value.strip() for name, value in row.values.items() if value.strip()}
            split = split_name(values.pop("split", None))
            record = self._record(Row(row.path, row.number, values), split)
            if record.id in lines:
                raise RecordError(
                    f"{row.where}: line {lines[record.id]} has the same pair, {record.id!r}; remove one, or give each "
                    "an id in a column id"
                )
            lines[record.id] = row.number
            splits.update([split] if split else [])
            if self.split is None or split == self.split:
                yield record
        self.check_split(self.table, splits)

    def _record(self, row: Row, split: str | None) -> FaceRecord:
        first, second = row.text("first"), row.text("second")
        same = Row(row.path, row.number, {"same": row.text("same").casefold()}).choose("same", _TRUTH)
        others = {name: value for name, value in row.values.items() if name not in _NEEDED}
        record: dict[str, Any] = {
            "id": others.pop("id", None) or f"{self.name}/{first}+{second}",
            "images": [first, second],
            "same": same,
            "groups": take_groups(others),
            "conversations": [
                Turn(role="user", content=QUESTION, task=VERIFICATION),
                Turn(role="assistant", content="Yes." if same else "No.", task=VERIFICATION),
            ],
            "split": split,
            **{name: others.pop(name) for name in TERM_COLUMNS if name in others},
        }
        try:
            return FaceRecord.model_validate({**record, "source": {"dataset": self.name, **others}})
        except ValidationError as error:
            raise RecordError(f"{row.where}: {describe_problem(error)}") from error
