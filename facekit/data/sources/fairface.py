"""FairFace: faces balanced over race, with age group, gender and race, and no task label of their own.

Source: Kärkkäinen and Joo, WACV 2021. The age is a band and so a group attribute, not an age in years.
"""

from __future__ import annotations

from collections.abc import Iterator

from facekit.data.labels import AGE_GROUPS
from facekit.data.records import FaceRecord
from facekit.data.sources.base import GENDERS, Source
from facekit.data.sources.tables import read_table

__all__ = ["RACES", "FairFace"]

RACES = ("White", "Black", "Indian", "East Asian", "Southeast Asian", "Middle Eastern", "Latino_Hispanic")
"""FairFace's categories of the group ``race``, spelled as in its label files."""

_AGES = {group: group for group in AGE_GROUPS}
_RACES = {race: race for race in RACES}
_GENDERS = {name.capitalize(): group for name, group in GENDERS.items()}
_TRUTH = {"True": True, "False": False}


class FairFace(Source):
    """FairFace as released: a CSV for each split, and pictures named by their number in it."""

    name = "fairface"
    layout = (
        "fairface_label_train.csv and fairface_label_val.csv, beside them (or in the folder of the unpacked archive, "
        "such as fairface-img-margin025-trainval) the folders train and val"
    )
    splits = ("train", "validation")

    def locate(self) -> None:
        """Find the CSV files and the pictures, whichever margin they were cut with."""
        self.tables = self.find_split_files(
            {"train": ["fairface_label_train.csv"], "validation": ["fairface_label_val.csv"]}
        )
        folder = "train" if "train" in self.tables else "val"
        homes = [
            "", "fairface-img-margin025-trainval/", "fairface_img_margin025/", "fairface-img-margin125-trainval/",
            "fairface_img_margin125/",
        ]  # fmt: skip
        self.pictures = self.need_folder(*(f"{home}{folder}" for home in homes)).parent

    def read(self) -> Iterator[FaceRecord]:
        """Yield the faces in the order of the CSV files."""
        for split, path in self.tables.items():
            for row in read_table(path, required=("file", "age", "gender", "race")):
                groups = {
                    "age_group": row.choose("age", _AGES),
                    "gender": row.choose("gender", _GENDERS),
                    "race": row.choose("race", _RACES),
                }
                origin = {"service_test": row.choose("service_test", _TRUTH)} if "service_test" in row.values else {}
                yield self.record(self.pictures / row.text("file"), groups=groups, split=split, origin=origin)
