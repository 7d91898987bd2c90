"""AffectNet: eight expressions in the wild, in both layouts in which it was released.

Source: Mollahosseini, Hasani and Mahoor, IEEE TAC 2019. The first release has CSV lists beside the full pictures; the
later one has crops of 224 pixels and an ``.npy`` file per picture and annotation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from facekit.data.labels import ALL_EXPRESSIONS, Expression, FaceLabels
from facekit.data.records import NUM_LANDMARKS, FaceRecord
from facekit.data.sources.base import Source, boolean_option, list_pictures
from facekit.data.sources.tables import Row, read_lines, read_table
from facekit.errors import RecordError
from facekit.faces.array_files import read_array

__all__ = ["AffectNet"]

_NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt", "none", "uncertain",
          "no face")  # fmt: skip
_CODES = {str(code): name for code, name in enumerate(_NAMES)}
_EXPRESSIONS: dict[str, Expression] = {name: name for name in ALL_EXPRESSIONS}
_COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
            "valence", "arousal")  # fmt: skip
_NOT_ANNOTATED = -2.0
_LISTS = {"train": "training.csv", "validation": "validation.csv"}
_SETS = {"train": "train_set", "validation": "val_set"}


class AffectNet(Source):
    """AffectNet, manually annotated part.

    Faces annotated as "none", "uncertain" or "no face" have no expression and are left out and counted.

    Args:
        root: The folder that holds ``Manually_Annotated_file_lists`` or ``train_set`` and ``val_set``.
        landmarks: Also give the 68 points that come with the faces. It costs opening every picture for its size.
        **common: ``split`` and ``check_images``.
    """

    name = "affectnet"
    layout = (
        "Manually_Annotated_file_lists/training.csv and validation.csv with Manually_Annotated_Images, or train_set "
        "and val_set, each with images and annotations"
    )
    splits = ("train", "validation")

    def __init__(
        self,
        root: str | Path,
        *,
        landmarks: bool | str = False,
        split: str | None = None,
        check_images: bool | str = False,
    ) -> None:
        self.landmarks = boolean_option("landmarks", landmarks)
        super().__init__(root, split=split, check_images=check_images)

    def locate(self) -> None:
        """Find out which layout it is."""
        wanted = self.splits if self.split is None else (self.split,)
        self.sets = {split: self.root / _SETS[split] for split in wanted if (self.root / _SETS[split]).is_dir()}
        if self.sets:
            for folder in self.sets.values():
                self.need_folder(f"{folder.name}/images")
                self.need_folder(f"{folder.name}/annotations")
            return
        self.lists = self.find_split_files(
            {split: [f"Manually_Annotated_file_lists/{name}", name] for split, name in _LISTS.items()}
        )
        self.pictures = self.need_folder("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")

    def read(self) -> Iterator[FaceRecord]:
        """Yield the faces in the order of the lists, or of the numbers of the pictures."""
        if self.sets:
            for split, folder in self.sets.items():
                yield from self._read_set(split, folder)
        else:
            for split, path in self.lists.items():
                yield from self._read_list(split, path)

    def _read_list(self, split: str, path: Path) -> Iterator[FaceRecord]:
        first = next(read_lines(path), (1, ""))[1]
        headed = first.startswith(_COLUMNS[0])
        for row in read_table(path, required=_COLUMNS if headed else (), columns=None if headed else _COLUMNS):
            expression = self._expression(row)
            if expression is None:
                continue
            picture = self.pictures / row.text(_COLUMNS[0])
            points = None
            if self.landmarks and row.values["facial_landmarks"].strip():
                points = _normalise(row.text("facial_landmarks").split(";"), picture, row.where)
            affect = {name: value for name in ("valence", "arousal") if (value := _signed(row, name)) is not None}
            yield self.record(
                picture, labels=FaceLabels(expression=expression), split=split, landmarks=points, origin=affect
            )

    def _read_set(self, split: str, folder: Path) -> Iterator[FaceRecord]:
        for picture in list_pictures(folder / "images"):
            stem = folder / "annotations" / picture.stem
            row = Row(Path(f"{stem}_exp.npy"), None, {"expression": str(_load(Path(f"{stem}_exp.npy")).item())})
            expression = self._expression(row)
            if expression is None:
                continue
            affect: dict[str, float] = {}
            for name, suffix in (("valence", "val"), ("arousal", "aro")):
                path = Path(f"{stem}_{suffix}.npy")
                if path.is_file():
                    value = _signed(Row(path, None, {name: str(_load(path).item())}), name)
                    affect |= {} if value is None else {name: value}
            path = Path(f"{stem}_lnd.npy")
            points = None
            if self.landmarks and path.is_file():
                points = _normalise(_load(path).reshape(-1).tolist(), picture, str(path))
            yield self.record(
                picture, labels=FaceLabels(expression=expression), split=split, landmarks=points, origin=affect
            )

    def _expression(self, row: Row) -> Expression | None:
        name = row.choose("expression", _CODES)
        if name not in _EXPRESSIONS:
            self.summary.unmapped[name] += 1
        return _EXPRESSIONS.get(name)


def _signed(row: Row, name: str) -> float | None:
    try:
        value = float(row.text(name))
    except ValueError:
        value = float("nan")
    if value == _NOT_ANNOTATED:
        return None
    if not -1.0 <= value <= 1.0:
        raise RecordError(f"{row.where}: '{name}' must be a number from -1 to 1, not {row.text(name)!r}")
    return value


def _load(path: Path) -> np.ndarray:
    try:
        return read_array(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"the label file {path} cannot be read as .npy ({error}); fetch it again") from error


def _normalise(numbers: list[str] | list[float], picture: Path, where: str) -> list[list[float]] | None:
    if not picture.is_file():
        return None
    try:
        points = np.asarray(numbers, dtype=np.float64).reshape(NUM_LANDMARKS, 2)
    except ValueError as error:
        raise RecordError(f"{where}: {NUM_LANDMARKS} landmarks x;y are expected ({error})") from error
    with Image.open(picture) as image:
        size = image.size
    shares: list[list[float]] = (points / size).round(6).tolist()
    return shares
