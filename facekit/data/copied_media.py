"""Media copied along with records, where their output is on another file system than they are."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path, PurePosixPath

from facekit.data.atomic import explained_writes
from facekit.data.records import FaceRecord
from facekit.errors import ConfigurationError, RecordError
from facekit.remote.addresses import address_of, hide_secrets, is_mirrored, place_of
from facekit.remote.mirror import require_here
from facekit.remote.uploads import output_place

__all__ = ["CopiedMedia"]

_FOLDER = "media"


class CopiedMedia:
    """The files that records name, copied into another folder.

    A file keeps its name relative to the folder of the records; one that is elsewhere becomes ``media/000000000.jpg``
    and so on. Files that are there already and have the same size and time, or the same contents, are not copied again;
    those of a remote folder are fetched to be compared, unless they may be replaced.

    Args:
        source: The folder that the records' paths are relative to.
        target: The folder to copy to.
        under: A folder in it, for media of one of several sets.
        overwrite: Whether files that are there with other contents are replaced.
    """

    def __init__(self, source: Path, target: Path, under: str = "", *, overwrite: bool = False) -> None:
        self.source, self.target, self.under = source, target, f"{under}/" if under else ""
        self.overwrite = overwrite
        self._copies: dict[str, str] = {}
        self._made: list[Path] = []
        self._origins: dict[str, Path] = {}

    @property
    def paths(self) -> list[Path]:
        """The copies that were not there before, in the order in which they were made."""
        return list(self._made)

    def along(self, records: Iterable[FaceRecord]) -> Iterator[FaceRecord]:
        """Pass records on with the names that the copies of their files have.

        Raises:
            RecordError: A file is not there.
            ConfigurationError: Another file has the name of a copy, and may not be replaced.
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
        numbers = (f"{_FOLDER}/{number:09d}{plain.suffix.lower()}" for number in count(len(self._copies)))
        copy = str(plain) if is_inside else next(numbers)
        while self._origins.get(copy, path) != path:
            copy = next(numbers)
        self._origins[copy] = path
        copy = f"{self.under}{copy}"
        self._make(path, self.target / copy)
        self._copies[name] = copy
        return copy

    def _make(self, path: Path, target: Path) -> None:
        is_remote = is_mirrored(target)
        if is_remote and not self.overwrite:
            output_place(address_of(target))
        is_there = _is_same(path, target)
        if not is_there and target.exists() and not self.overwrite:
            shown = hide_secrets(address_of(target)) if is_remote else target
            raise ConfigurationError(
                f"{shown} is there with other contents than {path}, which is to be copied along; name another "
                "output, or replace it with --overwrite"
            )
        if not is_there:
            _copy_whole(path, target)
        if not is_there or (is_remote and self.overwrite):  # what the mirror has need not be what is there
            self._made.append(target)


def _copy_whole(path: Path, target: Path) -> None:
    """Copy a file with its time; it has its name only when it is whole."""
    with explained_writes(f"{target} cannot be written"):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=target.parent, prefix=".copying-")
        os.close(descriptor)
        try:
            shutil.copy2(path, part)
            Path(part).replace(target)
        finally:
            Path(part).unlink(missing_ok=True)


def _is_same(path: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    one, other = path.stat(), target.stat()
    if one.st_size != other.st_size:
        return False
    return one.st_mtime_ns == other.st_mtime_ns or filecmp.cmp(path, target, shallow=False)
