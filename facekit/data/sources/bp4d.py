"""BP4D-Spontaneous: the occurrence of action units in frames of people at eight tasks.

Source: Zhang et al., Image and Vision Computing 2014. ``AUCoding/AU_OCC/F001_T1.csv`` has the frame number in its
first column and 0, 1 or 9 (not coded) for each unit. Occurrence has no intensity: a unit that is present gets 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from facekit.data.labels import ACTIVE_INTENSITY, FACS_UNITS, FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source, integer_option, list_pictures
from facekit.data.sources.tables import read_table
from facekit.errors import ConfigurationError

__all__ = ["CUSTOMARY_UNITS", "Bp4d"]

CUSTOMARY_UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
"""The twelve units on which results on BP4D are reported."""

_CODES: dict[str, float | None] = {"0": 0.0, "1": ACTIVE_INTENSITY, "9": None}
_SEQUENCE = re.compile(r"(?P<person>(?P<gender>[FM])\d{3})_(?P<task>T\d)")
_MOST_FRAMES = 1_000_000


class Bp4d(Source):
    """BP4D with its 2D pictures.

    Args:
        root: The folder that holds ``AUCoding``.
        units: ``customary`` for the twelve of ``CUSTOMARY_UNITS``, ``all`` for every unit that is coded.
        every: Take only every n-th coded frame.
        **common: ``check_images``; there is no official split.
    """

    name = "bp4d"
    layout = "AUCoding/AU_OCC/F001_T1.csv and so on, and the pictures in Sequences(2D+3D)/F001/T1 and so on"

    def __init__(
        self,
        root: str | Path,
        *,
        units: str = "customary",
        every: int | str = 1,
        split: str | None = None,
        check_images: bool | str = False,
    ) -> None:
        if units not in ("customary", "all"):
            raise ConfigurationError(f"the option 'units' of bp4d is customary or all, not {units!r}")
        self.units = units
        self.every = integer_option("every", every, 1)
        super().__init__(root, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find the coded sequences and the pictures."""
        coding = self.need_folder("AUCoding/AU_OCC", "AUCoding")
        self.tables = sorted(path for path in coding.glob("*.csv") if _SEQUENCE.fullmatch(path.stem))
        if not self.tables:
            self.need_file("AUCoding/AU_OCC/F001_T1.csv")
        person = self.tables[0].stem.partition("_")[0]
        homes = ("Sequences(2D+3D)", "Sequences", "2D+3D", "images")
        found = next((self.root / home for home in homes if (self.root / home).is_dir()), None)
        self.pictures = found or self.need_folder(person, homes[0]).parent

    def read(self) -> Iterator[FaceRecord]:
        """Yield the coded frames, sequence by sequence."""
        for path in self.tables:
            match = _SEQUENCE.fullmatch(path.stem)
            if match is not None:
                yield from self._read_sequence(path, match["person"], match["task"], match["gender"])

    def _read_sequence(self, path: Path, person: str, task: str, gender: str) -> Iterator[FaceRecord]:
        folder = self.pictures / person / task
        pictures = {int(picture.stem): picture for picture in list_pictures(folder) if picture.stem.isdigit()}
        wanted = [str(unit) for unit in CUSTOMARY_UNITS]
        for index, row in enumerate(read_table(path, required=["0", *wanted])):
            if index % self.every:
                continue
            frame = row.integer("0", 0, _MOST_FRAMES)
            columns = wanted if self.units == "customary" else [name for name in row.values if name != "0"]
            coded = {f"AU{int(unit)}": row.choose(unit, _CODES) for unit in columns}
            units = {code: value for code, value in coded.items() if value is not None}
            for code in units.keys() - FACS_UNITS:
                self.summary.unmapped[f"{code}, which FACS does not have"] += 1
                del units[code]
            if not units:
                self.summary.unmapped["frame without a coded unit"] += 1
            elif frame not in pictures:
                self.summary.missing.add(folder / f"{frame}.jpg")
            else:
                yield self.record(
                    pictures[frame],
                    labels=FaceLabels(action_units=units),
                    groups={"gender": "woman" if gender == "F" else "man"},
                    origin={"person": person, "task": task, "frame": frame},
                )
