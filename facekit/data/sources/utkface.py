"""UTKFace: age in years, gender and race, written in the name of every file.

Source: Zhang, Song and Qi, CVPR 2017. A name is ``age_gender_race_time.jpg.chip.jpg``. Some names lack a part; what is
left is kept, and what is ambiguous is left unknown and counted. Archives that circulate have the folders again inside a
folder, or twice: Kaggle's ``jangedoo/utkface-new`` has ``UTKFace``, ``crop_part1`` and, with the same files,
``utkface_aligned_cropped/UTKFace`` and ``utkface_aligned_cropped/crop_part1``; others unpack to ``UTKFace/UTKFace``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facekit.data.labels import FaceLabels, age_group_of
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source
from facekit.data.sources.tables import Row
from facekit.errors import RecordError

__all__ = ["UtkFace"]

OLDEST = 116
_GENDERS = {"0": "man", "1": "woman"}
_RACES = {"0": "White", "1": "Black", "2": "Asian", "3": "Indian", "4": "Others"}


_PARTS = ("crop_part1", "part1", "part2", "part3")
_OUTER = ("UTKFace", "utkface_aligned_cropped")


class UtkFace(Source):
    """UTKFace as released: one folder of aligned crops, or the three parts in the wild."""

    name = "utkface"
    layout = "pictures named age_gender_race_time.jpg in UTKFace, crop_part1, part1, part2, part3 or the root itself"

    def locate(self) -> None:
        """Find the folders with pictures."""
        for home in (self.root, *(self.root / name for name in _OUTER)):
            whole = home / "UTKFace"
            # Beside the whole, the parts are the same faces again.
            folders = [whole] if _has_pictures(whole) else [home / name for name in _PARTS]
            self.folders = [folder for folder in folders if _has_pictures(folder)]
            if self.folders:
                return
        if _has_pictures(self.root):
            self.folders = [self.root]
        else:
            self.need_folder("UTKFace", "part1")
            raise RecordError(
                f"{self.root / 'UTKFace'} has no picture with labels in its name; {self.name} expects {self.layout}"
            )

    def read(self) -> Iterator[FaceRecord]:
        """Yield the faces in the order of their file names."""
        for folder in self.folders:
            for path in sorted(folder.iterdir()):
                if _is_picture(path):
                    yield self._parse(path)

    def _parse(self, path: Path) -> FaceRecord:
        parts = path.name.split("_")
        row = Row(path, None, dict(zip(("age", "gender", "race"), parts[:-1], strict=False)))
        age = row.integer("age", 0, OLDEST)
        groups = {"age_group": age_group_of(age)}
        if len(parts) != 4:
            self.summary.unmapped["name without gender or race"] += 1
        else:
            if parts[1]:
                groups["gender"] = row.choose("gender", _GENDERS)
            if parts[2]:
                groups["race"] = row.choose("race", _RACES)
            if not (parts[1] and parts[2]):
                self.summary.unmapped["name without gender or race"] += 1
        return self.record(path, labels=FaceLabels(age=age), groups=groups)


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(_is_picture(path) for path in folder.iterdir())


def _is_picture(path: Path) -> bool:
    return path.name[:1].isdigit() and "_" in path.name and path.name.lower().endswith(("jpg", "jpeg", "png"))
