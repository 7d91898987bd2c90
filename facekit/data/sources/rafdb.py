"""RAF-DB, basic expressions: seven expressions, with gender, race and age band from the manual annotation.

Source: Li, Deng and Du, CVPR 2017. The label file is spelled ``list_patition_label.txt`` in the release; its codes
begin at 1 with surprise. Kaggle's ``shuvoalok/raf-db-dataset``, which public training scripts read with torchvision's
``ImageFolder``, has the aligned crops alone, in folders named by the same codes:
``DATASET/train/5/train_00001_aligned.jpg``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facekit.data.labels import Expression, FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source, list_pictures
from facekit.data.sources.tables import Row, read_lines, read_table
from facekit.errors import ConfigurationError, RecordError

__all__ = ["RafDb"]

EXPRESSIONS: dict[str, Expression] = {
    "1": "surprise", "2": "fear", "3": "disgust", "4": "happiness", "5": "sadness", "6": "anger", "7": "neutral",
}  # fmt: skip
_SPLITS = {"train": "train", "test": "test"}
_GENDERS = {"0": "man", "1": "woman", "2": None}
_RACES = {"0": "Caucasian", "1": "African-American", "2": "Asian"}
_AGES = {"0": "0-3", "1": "4-19", "2": "20-39", "3": "40-69", "4": "70+"}
_LANDMARK_LINES = 5


class RafDb(Source):
    """The folder ``basic`` of RAF-DB, or the aligned crops sorted into folders by expression, as Kaggle has them.

    Args:
        root: The folder that holds ``basic`` or ``DATASET``, or that folder.
        pictures: ``aligned`` (100 x 100 crops) or ``original``.
        **common: ``split`` and ``check_images``.
    """

    name = "raf-db"
    layout = (
        "basic/EmoLabel/list_patition_label.txt and basic/Image/aligned (or basic/Image/original), or "
        "DATASET/train/1 to DATASET/test/7"
    )
    splits = ("train", "test")

    def __init__(
        self, root: str | Path, *, pictures: str = "aligned", split: str | None = None, check_images: bool | str = False
    ) -> None:
        if pictures not in ("aligned", "original"):
            raise ConfigurationError(f"the option 'pictures' of raf-db is aligned or original, not {pictures!r}")
        self.kind = pictures
        super().__init__(root, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find the labels, the pictures and, where it is there, the manual annotation."""
        homes = [self.root / "DATASET", self.root]
        self.sorted = next((home for home in homes if any((home / split / "1").is_dir() for split in _SPLITS)), None)
        if self.sorted is not None:
            if self.kind != "aligned":
                raise RecordError(f"{self.sorted} has the aligned pictures alone; leave out pictures=original")
            self.chosen = [split for split in _SPLITS if self.split in (None, split)]
            for split in self.chosen if self.split else ():
                self.need_folder(f"{self.sorted.relative_to(self.root).as_posix()}/{split}".removeprefix("./"))
            return
        self.table = self.need_file("basic/EmoLabel/list_patition_label.txt", "EmoLabel/list_patition_label.txt")
        home = self.table.parent.parent
        prefix = "" if home == self.root else "basic/"
        self.folder = self.need_folder(f"{prefix}Image/{self.kind}")
        self.annotation = home / "Annotation" / "manual"

    def read(self) -> Iterator[FaceRecord]:
        """Yield the faces in the order of the label file, or of the folders."""
        if self.sorted is not None:
            yield from self._read_sorted(self.sorted)
            return
        for row in read_table(self.table, columns=("file", "label"), delimiter=None):
            stem = Path(row.text("file")).stem
            split = Row(row.path, row.number, {"file": stem.split("_")[0]}).choose("file", _SPLITS)
            expression = row.choose("label", EXPRESSIONS)
            if self.split in (None, split):
                name = f"{stem}_aligned.jpg" if self.kind == "aligned" else row.text("file")
                groups = self._groups(self.annotation / f"{stem}_manu_attri.txt")
                yield self.record(
                    self.folder / name, labels=FaceLabels(expression=expression), groups=groups, split=split
                )

    def _read_sorted(self, home: Path) -> Iterator[FaceRecord]:
        for split in self.chosen:
            folders = sorted(path for path in (home / split).glob("*") if path.is_dir())
            for folder in folders:
                expression = Row(folder, None, {"label": folder.name}).choose("label", EXPRESSIONS)
                for path in list_pictures(folder):
                    if path.name.split("_")[0] in _SPLITS.keys() - {split}:
                        raise RecordError(f"file name {path}: a picture of the other split is in {split}")
                    yield self.record(path, labels=FaceLabels(expression=expression), split=split)

    def _groups(self, path: Path) -> dict[str, str]:
        if not path.is_file():
            return {}
        lines = list(read_lines(path))[_LANDMARK_LINES:]
        if len(lines) < 3:
            raise RecordError(f"{path}: five landmarks, gender, race and age are expected, one a line")
        gender, race, age = (Row(path, number, {"code": line}) for number, line in lines[:3])
        found = {
            "age_group": age.choose("code", _AGES),
            "gender": gender.choose("code", _GENDERS),
            "race": race.choose("code", _RACES),
        }
        return {attribute: group for attribute, group in found.items() if group is not None}
