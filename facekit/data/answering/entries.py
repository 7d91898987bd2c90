"""``open_entries``: what a batch is about, a record or picture at a time, from records, a dataset or a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from facekit.catalog import current_registry
from facekit.data.confinement import Confinement
from facekit.data.lenient import read_leniently
from facekit.data.origins import describe_nothing, open_records
from facekit.data.preprocessing.stamps import digest_files
from facekit.data.record_media import open_frames
from facekit.data.records import FaceRecord
from facekit.data.skipping import SkippedRecord
from facekit.data.sources.columns import split_name
from facekit.data.sources.file_walk import FoundFile, walk_files
from facekit.errors import RecordError
from facekit.faces import CroppedClip, read_clip
from facekit.faces.video import is_video
from facekit.models.image_processing import FaceKitImageProcessor, Medium
from facekit.remote.addresses import is_mirrored
from facekit.remote.mirror import local_copy
from facekit.spec import PartSpec

__all__ = ["Entries", "Entry", "open_entries"]


@dataclass(frozen=True)
class Entry:
    """A record, or a picture or clip of a folder.

    Args:
        record: The record; of a picture one that has nothing but its path.
        folder: Folder of its paths.
        find_faces: Whether its pictures are to be cropped to their face; otherwise they are crops already.
        confinement: Where its files may be; None where that has been checked.
    """

    record: FaceRecord
    folder: Path
    find_faces: bool
    confinement: Confinement | None = None

    def open(self, image_processor: FaceKitImageProcessor) -> list[Medium]:
        """Open its pictures, or its clip, as squares with their landmarks.

        Raises:
            ImageError: A file cannot be opened as a picture or, as ``VideoError``, as a clip.
            FaceNotFoundError: There is no face, and the processor's ``on_no_face`` is ``raise``.
            RecordError: The record has landmarks for another number of frames, or a path leads out of its folder.
        """
        self._check_paths()
        record = self.record
        if not self.find_faces:
            frames = open_frames(record, self.folder, image_processor.num_frames)
            is_clip = record.video is not None
            return [CroppedClip(tuple(frames), tuple(range(len(frames))))] if is_clip else list(frames)
        paths = record.media_paths(self.folder)
        if isinstance(record.video, list):
            return [image_processor.prepare_clip(paths)]
        if record.video is not None:
            return [image_processor.prepare_clip(read_clip(paths[0], image_processor.num_frames, among=record.frames))]
        return [
            image_processor.prepare_clip(each) if is_video(each) else image_processor.prepare(each) for each in paths
        ]

    def digest(self) -> str:
        """A hash of what its files hold now, by which a changed one is noticed; empty where they are not to be read."""
        try:
            self._check_paths()
            return digest_files(self.record, self.folder)
        except RecordError:
            return ""

    def _check_paths(self) -> None:
        if self.confinement is not None:
            self.confinement.check(self.record.file_names(), f"record {self.record.id!r}")


@dataclass(frozen=True)
class Entries:
    """What a batch is about.

    Args:
        count: How many entries there are, broken ones included.
        iterate: Reads them from the beginning; what is no record comes as the reason why not.
        origin: Where they come from, by which a batch that is started again is known.
    """

    count: int
    iterate: Callable[[], Iterator[Entry | SkippedRecord]]
    origin: str = ""


def open_entries(origin: str | Path, *, split: str | None = None, find_faces: bool | None = None) -> Entries:
    """Open what a batch is about; what is large is read from its file as the batch goes on.

    Args:
        origin: A records file in any format, a dataset as ``name:root``, or a folder of pictures and clips.
        split: Only the records of one split.
        find_faces: Whether pictures are cropped to their face. By default those of a records file are crops already,
            as everywhere in facekit, and those of a folder or dataset are not.

    Raises:
        RecordError: There is no such file, or nothing in it that can be asked about.
        UnknownPartError: There is no such dataset.
    """
    path = local_copy(str(origin)).expanduser()
    name_of_origin = str(origin) if is_mirrored(path) or not path.exists() else os.path.realpath(path)
    if path.is_dir() and any(found.outcome == "media" for found in _list_media(path)):
        return _pictures(path, name_of_origin, find_faces is not False)
    if path.is_file():
        return _records(path, name_of_origin, split, find_faces is True)
    name = PartSpec.parse(str(origin)).name if not path.exists() else ""
    crop = find_faces if find_faces is not None else name in current_registry().names("dataset")
    if path.exists() and not any(path.iterdir()):
        raise RecordError(f"{origin} has no picture, clip or records in it; check the path")

    def iterate() -> Iterator[Entry]:
        records, folder, _ = open_records(str(origin), split=split)
        return (Entry(record, folder, crop) for record in records)

    count = sum(1 for _ in iterate())
    if not count:
        raise RecordError(describe_nothing(str(origin), split, None))
    return Entries(count, iterate, name_of_origin)


def _records(path: Path, origin: str, split: str | None, find_faces: bool) -> Entries:
    found = read_leniently(path)
    confinement = Confinement(found.folder, path)
    wanted = split_name(split)

    def iterate() -> Iterator[Entry | SkippedRecord]:
        yield from found.broken
        for record in found.records:
            if wanted is None or split_name(record.split) == wanted:
                yield Entry(record, found.folder, find_faces, confinement)

    count = len(found) if wanted is None else sum(1 for record in found.records if split_name(record.split) == wanted)
    if not count:
        raise RecordError(describe_nothing(str(path), split, None))
    return Entries(count + len(found.broken), iterate, origin)


def _pictures(folder: Path, origin: str, find_faces: bool) -> Entries:
    def iterate() -> Iterator[Entry | SkippedRecord]:
        for found in _list_media(folder):
            name = found.path.relative_to(folder).as_posix()
            if found.kind is None:
                yield SkippedRecord(None, name.encode("utf-8", "backslashreplace").decode(), found.reason)
                continue
            medium = {"video" if found.kind == "video" else "image": name}
            yield Entry(FaceRecord(id=name, **medium), folder, find_faces)  # type: ignore[arg-type]  # by name

    return Entries(sum(1 for _ in _list_media(folder)), iterate, origin)


def _list_media(folder: Path) -> Iterator[FoundFile]:
    """The pictures and clips below a folder, each once, and what cannot be read; what is hidden is left out."""
    for found in walk_files(folder):
        names = found.path.relative_to(folder).parts
        if found.outcome in ("media", "failed") and not any(name.startswith(".") for name in names):
            yield found
