"""The base class of data sources: finding files, building records, counting missing and broken samples.

A source is one class with the layout of one dataset. It looks for its files when it is made, so that a wrong root is
one sentence at once, and reads while it is iterated, so that a million faces need no more memory than one.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ValidationError

from facekit.data.confinement import Confinement
from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord, describe_problem
from facekit.data.sources.columns import GENDERS, describe_lacking_split, split_name
from facekit.data.sources.summary import SourceSummary
from facekit.errors import ConfigurationError, ImageError, RecordError
from facekit.faces.file_kinds import PICTURE_SUFFIXES, VIDEO_SUFFIXES, FileKind
from facekit.faces.images import open_image
from facekit.spec import Range, read_value

__all__ = [
    "GENDERS",
    "PICTURE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Source",
    "boolean_option",
    "integer_option",
    "list_pictures",
]


class Source(ABC):
    """A dataset in the layout in which it is distributed.

    Iterating gives ``FaceRecord``s whose paths are relative to the root, and fills ``summary``. Labels may not name
    files outside the root, unless that is allowed (``facekit.data.confinement``); links in it are the user's own.

    Args:
        root: The folder that holds the dataset.
        split: One of ``splits``; None for everything that is there.
        check_images: Open every picture and leave out those that are broken. It costs the time of decoding them.

    Attributes:
        name: Its name in the registry.
        layout: What a root holds, for the message about a wrong one.
        splits: The splits that the dataset defines; empty where it defines none.
        is_own_table: Whether it is a table of the user's, which may be named itself and have other splits.

    Raises:
        RecordError: The root, or a label file that has to be in it, is not there.
        ConfigurationError: The dataset has no such split, or an option is out of its range.
    """

    name: ClassVar[str]
    layout: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ()
    is_own_table: ClassVar[bool] = False

    def __init__(self, root: str | Path, *, split: str | None = None, check_images: bool | str = False) -> None:
        self.root = Path(root).expanduser()
        self.split = self._known_split(split)
        self.check_images = boolean_option("check_images", check_images)
        self.summary = SourceSummary(self.name, self.root)
        if not self.root.is_dir():
            kind = "file or folder" if self.is_own_table else "folder"
            raise RecordError(f"there is no {kind} {self.root}; {self.name} expects {self.layout}")
        self.locate()

    @abstractmethod
    def locate(self) -> None:
        """Find the label files and media folders; raises ``RecordError`` through ``need_file`` and ``need_folder``."""

    @abstractmethod
    def read(self) -> Iterator[FaceRecord]:
        """Yield a record for every face that is labelled, whether or not its file is there.

        Raises:
            RecordError: A label file is malformed, or a label is out of its range; the message has file and line.
        """

    def __iter__(self) -> Iterator[FaceRecord]:
        self.summary.reset()
        confinement = Confinement(self.root, also=self.other_folders(), follow_links=False)
        for record in self.read():
            confinement.check(record.file_names(), f"{self.name}, record {record.id!r}")
            if self._has_media(record):
                self.summary.counts.add(record)
                yield record

    def check_split(self, table: Path, found: Collection[str]) -> None:
        """Make sure that a row of the user's table is of the wanted split; raises ``RecordError`` with those found."""
        if self.split is not None and self.split not in found:
            raise RecordError(describe_lacking_split(table, self.split, found))

    def other_folders(self) -> Sequence[Path]:
        """Folders outside the root that an option names for media."""
        return ()

    def need_file(self, *candidates: str) -> Path:
        """The first of several files that is there; raises ``RecordError`` that says what was expected."""
        return self._need(candidates, "file")

    def need_folder(self, *candidates: str) -> Path:
        """The first of several folders that is there; raises ``RecordError`` that says what was expected."""
        return self._need(candidates, "folder")

    def find_split_files(self, candidates: Mapping[str, Sequence[str]]) -> dict[str, Path]:
        """The label file of the wanted split, or of every split that is there.

        Args:
            candidates: For each split, where its file may be.

        Raises:
            RecordError: The wanted split's file is not there, or none is.
        """
        if self.split is not None:
            return {self.split: self.need_file(*candidates[self.split])}
        found = {}
        for split, names in candidates.items():
            path = next((self.root / name for name in names if (self.root / name).is_file()), None)
            if path is not None:
                found[split] = path
        if not found:
            self.need_file(*(name for names in candidates.values() for name in names))
        return found

    def record(
        self,
        media: Path | Sequence[Path],
        *,
        labels: FaceLabels | None = None,
        groups: Mapping[str, str] | None = None,
        split: str | None = None,
        key: str | None = None,
        frames: list[int] | None = None,
        landmarks: list[Any] | None = None,
        origin: Mapping[str, Any] | None = None,
        kind: FileKind | None = None,
    ) -> FaceRecord:
        """Build a record.

        Args:
            media: A picture, a video file, or the frames of a clip in order; under the root.
            labels: The annotations.
            groups: Group attributes.
            split: The split it belongs to.
            key: What its id is made of; None for the path of the medium.
            frames: The frames of a video file that it is about.
            landmarks: 68 points in [0, 1].
            origin: Further facts for ``FaceRecord.source``, beside the dataset's name.
            kind: Whether a file is a picture or a video; None where its suffix says.

        Raises:
            RecordError: The medium is not under the root, or a value does not fit a record.
        """
        path: str | list[str]
        if isinstance(media, Path):
            path = self._relative(media)
            is_clip = kind == "video" if kind is not None else media.suffix.lower() in VIDEO_SUFFIXES
        else:
            path, is_clip = [self._relative(frame) for frame in media], True
        values = {
            "id": f"{self.name}/{key or path}",
            "video" if is_clip else "image": path,
            "frames": frames,
            "landmarks": landmarks,
            "labels": labels or FaceLabels(),
            "groups": dict(groups or {}),
            "source": {"dataset": self.name, **(origin or {})},
            "split": split,
        }
        try:
            return FaceRecord.model_validate(values)
        except ValidationError as error:
            raise RecordError(f"{self.root}, {values['id']}: {describe_problem(error)}") from error

    def _relative(self, path: Path) -> str:
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError as error:
            raise RecordError(
                f"{self.name}: {path} is not under {self.root}; its labels are not as released"
            ) from error

    def _has_media(self, record: FaceRecord) -> bool:
        paths = record.media_paths(self.root)
        absent = [path for path in paths if not path.is_file()]
        for path in absent:
            self.summary.missing.add(path)
        if absent or not self.check_images or isinstance(record.video, str):
            return not absent
        for path in paths:
            try:
                open_image(path)
            except ImageError:
                self.summary.broken.add(path)
                return False
        return True

    def _known_split(self, split: str | None) -> str | None:
        if split is None:
            return None
        wanted = split_name(split)
        if self.is_own_table:
            return wanted
        if not self.splits:
            raise ConfigurationError(f"{self.name} defines no split, so there is no {split!r}; leave the split out")
        if wanted not in self.splits:
            raise ConfigurationError(f"{self.name} has the splits {', '.join(self.splits)}, not {split!r}")
        return wanted

    def _need(self, candidates: Sequence[str], kind: str) -> Path:
        for name in candidates:
            path = self.root / name
            if path.is_file() if kind == "file" else path.is_dir():
                return path
        names = " or ".join(dict.fromkeys(candidates))
        raise RecordError(f"{self.root} has no {kind} {names}; {self.name} expects {self.layout}")


def integer_option(name: str, value: int | str, low: int, high: int | None = None) -> int:
    """An option of a source as a whole number; raises ``ConfigurationError`` where it is out of range."""
    try:
        number: int = read_value(value, Annotated[int, Range(low, high)])
    except ValueError as error:
        raise ConfigurationError(f"the option {name}={value} cannot be used: {error}") from error
    return number


def boolean_option(name: str, value: bool | str) -> bool:
    """An option of a source as true or false; raises ``ConfigurationError`` where it is neither."""
    try:
        truth: bool = read_value(value, bool)
    except ValueError as error:
        raise ConfigurationError(f"the option {name}={value} cannot be used: {error}") from error
    return truth


def list_pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, by the numbers in their names: ``2.jpg`` before ``10.jpg``."""
    if not folder.is_dir():
        return []
    pictures = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    return sorted(pictures, key=lambda path: [(int(n) if n else 0, w) for n, w in re.findall(r"(\d*)(\D*)", path.name)])
