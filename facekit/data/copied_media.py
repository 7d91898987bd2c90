"""Media copied along with records, where their output is on another file system than they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from facekit.data.atomic import explained_writes
from facekit.data.records import FaceRecord
from facekit.errors import RecordError
from facekit.remote.addresses import place_of
from facekit.remote.mirror import require_here

__all__ = ["CopiedMedia"]

_FOLDER = "media"


class CopiedMedia:
    """The files that records name, copied into another folder.

    A file keeps its name relative to the folder of the records; one that is elsewhere becomes ``media/000000000.jpg``
    and so on. Files that are there already and have the same size and time are not copied again.

    Args:
        source: The folder that the records' paths are relative to.
        target: The folder to copy to.
        under: A folder in it, for media of one of several sets.
    """

    def __init__(self, source: Path, target: Path, under: str = "") -> None:
        self.source, self.target, self.under = source, target, f"{under}/" if under else ""
        self._copies: dict[str, str] = {}

    @property
    def paths(self) -> list[Path]:
        """The copies, in the order in which they were made."""
        return [self.target / name for name in self._copies.values()]

    def along(self, records: Iterable[FaceRecord]) -> Iterator[FaceRecord]:
        """Pass records on with the names that the copies of their files have.

        Raises:
            RecordError: A file is not there.
            OutputError: It cannot be copied.
        """
        for record in records:
            yield record.with_paths(self._copy)

    def _copy(self, name: str) -> str:
        known = self._copies.get(name)
        if known is not None:
            return known
        path = place_of(self.source, name)
        require_here(path)
        if not path.is_file():
            raise RecordError(f"there is no file {path} to be copied along; name the media folder with --media")
        plain = PurePosixPath(name)
        is_inside = "://" not in name and not plain.is_absolute() and ".." not in plain.parts
        copy = name if is_inside else f"{_FOLDER}/{len(self._copies):09d}{plain.suffix.lower()}"
        copy = f"{self.under}{copy}"
        target = self.target / copy
        if not _is_same(path, target):
            with explained_writes(f"{target} cannot be written"):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
        self._copies[name] = copy
        return copy


def _is_same(path: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    one, other = path.stat(), target.stat()
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
