"""CelebA: forty binary attributes of celebrity faces.

Source: Liu et al., ICCV 2015. The attribute file has a line with the number of faces, a line with the names, and then
values that are 1 or -1 and stand between any number of spaces. ``identity_CelebA.txt``, where it is there, has a number
for every person. ``torchvision.datasets.CelebA`` keeps the files side by
side in a folder ``celeba``; Kaggle's ``jessicali9530/celeba-dataset`` has them as tables with commas (``image_id`` and
the attributes; ``image_id`` and ``partition``) and the pictures in ``img_align_celeba/img_align_celeba``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facekit.data.labels import CELEBA_ATTRIBUTES, FaceLabels
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source
from facekit.data.sources.tables import Row, read_lines, read_table
from facekit.errors import ConfigurationError, RecordError

__all__ = ["CelebA"]

_VALUES = {"1": True, "-1": False}
_SPLITS = {"0": "train", "1": "validation", "2": "test"}
_PICTURES = {
    "aligned": ("Img/img_align_celeba", "img_align_celeba/img_align_celeba", "img_align_celeba",
                "Img/img_align_celeba_png/img_align_celeba_png", "Img/img_align_celeba_png"),
    "original": ("Img/img_celeba", "img_celeba"),
}  # fmt: skip


class CelebA(Source):
    """CelebA as released (``Anno``, ``Eval``, ``Img``), with its files side by side as torchvision has it, or Kaggle's.

    Args:
        root: The folder.
        pictures: ``aligned`` (178 x 218 crops) or ``original``.
        **common: ``split`` and ``check_images``.
    """

    name = "celeba"
    layout = (
        "Anno/list_attr_celeba.txt, Eval/list_eval_partition.txt and Img/img_align_celeba (or the three side by side)"
    )
    splits = ("train", "validation", "test")

    def __init__(
        self, root: str | Path, *, pictures: str = "aligned", split: str | None = None, check_images: bool | str = False
    ) -> None:
        if pictures not in _PICTURES:
            raise ConfigurationError(f"the option 'pictures' of celeba is aligned or original, not {pictures!r}")
        self.kind = pictures
        super().__init__(root, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find the attributes, the partition and the pictures."""
        self.home = "celeba/" if (self.root / "celeba").is_dir() else ""
        self.attributes = self._need_list("Anno", "list_attr_celeba")
        self.partition = self._need_list("Eval", "list_eval_partition")
        self.folder = self.need_folder(*(f"{self.home}{name}" for name in _PICTURES[self.kind]))
        homes = (self.root / self.home / "Anno", self.root / self.home)
        self.people = next((path for home in homes if (path := home / "identity_CelebA.txt").is_file()), None)

    def read(self) -> Iterator[FaceRecord]:
        """Yield the faces in the order of the attribute file."""
        splits, people = self._splits(), self._people()
        for row in self._rows():
            name = row.text("file")
            if name not in splits:
                raise RecordError(f"{row.where}: {name} is not in {self.partition}; fetch both files again")
            if self.split in (None, splits[name]):
                values = {attribute: row.choose(attribute, _VALUES) for attribute in CELEBA_ATTRIBUTES}
                yield self.record(
                    self._picture(name),
                    labels=FaceLabels(attributes=values),
                    groups={"gender": "man" if values["Male"] else "woman"},
                    split=splits[name],
                    origin={"person": people[name]} if name in people else None,
                )

    def _need_list(self, folder: str, name: str) -> Path:
        return self.need_file(
            *(f"{self.home}{place}" for place in (f"{folder}/{name}.txt", f"{name}.txt", f"{name}.csv"))
        )

    def _splits(self) -> dict[str, str]:
        if self.partition.suffix == ".csv":
            table = read_table(self.partition, required=("image_id", "partition"))
            return {row.text("image_id"): row.choose("partition", _SPLITS) for row in table}
        rows = read_table(self.partition, columns=("file", "split"), delimiter=None)
        return {row.text("file"): row.choose("split", _SPLITS) for row in rows}

    def _people(self) -> dict[str, str]:
        if self.people is None:
            return {}
        rows = read_table(self.people, columns=("file", "person"), delimiter=None)
        return {row.text("file"): row.text("person") for row in rows}

    def _rows(self) -> Iterator[Row]:
        if self.attributes.suffix == ".csv":
            for row in read_table(self.attributes, required=("image_id", *CELEBA_ATTRIBUTES)):
                yield Row(row.path, row.number, {**row.values, "file": row.text("image_id")})
            return
        lines = read_lines(self.attributes)
        (_, count), (number, header) = next(lines, (1, "")), next(lines, (2, ""))
        if not count.strip().isdigit() or tuple(header.split()) != CELEBA_ATTRIBUTES:
            raise RecordError(
                f"{self.attributes}: line 1 must be the number of faces and line {number} the 40 attribute names; "
                "fetch the file again"
            )
        columns = ("file", *CELEBA_ATTRIBUTES)
        found = 0
        for number, line in lines:
            cells = line.split()
            if len(cells) != len(columns):
                raise RecordError(f"{self.attributes}, line {number}: {len(cells)} cells where 41 are expected")
            found += 1
            yield Row(self.attributes, number, dict(zip(columns, cells, strict=True)))
        if found != int(count):
            raise RecordError(
                f"{self.attributes}: line 1 announces {count.strip()} faces and {found} follow; fetch it again"
            )

    def _picture(self, name: str) -> Path:
        path = self.folder / name
        return path.with_suffix(".png") if self.folder.name.endswith("_png") else path
