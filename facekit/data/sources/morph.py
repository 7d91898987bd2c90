"""MORPH II: police photographs with age, gender and race.

Source: Ricanek and Tesafaye, FG 2006. A file name has the person, the number of the picture in the person's series, the
gender and the age: ``009055_1M54.JPG``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from facekit.data.labels import FaceLabels, age_group_of
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source
from facekit.data.sources.tables import Row, read_table
from facekit.errors import RecordError

__all__ = ["Morph2"]

YOUNGEST, OLDEST = 15, 100
_GENDERS = {"M": "man", "F": "woman"}
_RACES = {"W": "White", "B": "Black", "A": "Asian", "H": "Hispanic", "O": "Other"}
_NAME = re.compile(r"(?P<person>\d+)_(?P<number>\d+)(?P<gender>[A-Za-z])(?P<age>\d+)\.jpe?g", re.IGNORECASE)


class Morph2(Source):
    """The non-commercial release: ``morph_2008_nonCommercial.csv`` and ``Album2``; without the CSV, the names alone."""

    name = "morph2"
    layout = "morph_2008_nonCommercial.csv and the folder Album2 with files such as 009055_1M54.JPG"

    def locate(self) -> None:
        """Find the table, or the pictures whose names will have to do."""
        tables = [self.root / name for name in ("morph_2008_nonCommercial.csv", "MORPH_2008_nonCommercial.csv")]
        self.table = next((path for path in tables if path.is_file()), None)
        self.album = self.need_folder("Album2")

    def read(self) -> Iterator[FaceRecord]:
        """Yield the faces in the order of the table, or of their names."""
        if self.table is None:
            for path in sorted(self.album.iterdir()):
                if path.suffix.lower() in (".jpg", ".jpeg"):
                    yield self._record(path, *self._facts(path), race=None)
            return
        for row in read_table(self.table, required=("race", "gender", "age", "photo")):
            path = self.root / row.text("photo").replace("\\", "/")
            person, gender, age = self._facts(path)
            if age != row.integer("age", YOUNGEST, OLDEST) or gender != row.choose("gender", _GENDERS):
                raise RecordError(
                    f"{row.where}: age {row.text('age')} and gender {row.text('gender')} do not fit the name "
                    f"{path.name}; fetch the table again"
                )
            yield self._record(path, person, gender, age, race=row.choose("race", _RACES))

    def _facts(self, path: Path) -> tuple[str, str, int]:
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise RecordError(f"the file name {path} has no person, gender and age, as 009055_1M54.JPG has")
        row = Row(path, None, match.groupdict())
        return match["person"], row.choose("gender", _GENDERS), row.integer("age", YOUNGEST, OLDEST)

    def _record(self, path: Path, person: str, gender: str, age: int, *, race: str | None) -> FaceRecord:
        groups = {"age_group": age_group_of(age), "gender": gender} | ({"race": race} if race else {})
        return self.record(path, labels=FaceLabels(age=age), groups=groups, origin={"person": person})
