"""What a record's files were when they were read: size, time and a hash, by which a changed file is noticed later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from facekit.data.records import FaceRecord
from facekit.remote.addresses import place_of
from facekit.remote.mirror import require_here

_WHOLE = 32 << 20
_PART = 4 << 20


class FileStamp(NamedTuple):
    """A file as it was.

    Attributes:
        size: Bytes.
        modified: When it was changed last, in nanoseconds.
        digest: Hash of its contents; of a file above 32 MiB, of 4 MiB at its beginning, middle and end.
    """

    size: int
    modified: int
    digest: str


Stamps: TypeAlias = tuple[FileStamp | None, ...]
"""Of each file of a record; None where it could not be read."""


def stamp_record(record: FaceRecord, folder: Path) -> Stamps:
    """What the files of a record are now."""
    return tuple(_stamp(path) for path in _files(record, folder))


def compare_stamps(record: FaceRecord, folder: Path, before: Sequence[FileStamp | None]) -> Stamps | None:
    """Look whether the files of a record are what they were.

    A file of the same size and time is taken to be the same; one of another time is read and compared by its hash.

    Args:
        record: The record.
        folder: The folder that its paths are relative to.
        before: What its files were.

    Returns:
        What they are now, or None where one has other contents, has come, or has gone.
    """
    paths = _files(record, folder)
    if len(paths) != len(before):
        return None
    now = []
    for path, old in zip(paths, before, strict=True):
        new = old if old is not None and _size_and_time(path) == old[:2] else _stamp(path)
        if (new is None) != (old is None) or (new and old and (new.size, new.digest) != (old.size, old.digest)):
            return None
        now.append(new)
    return tuple(now)


def digest_files(record: FaceRecord, folder: Path) -> str:
    """A hash of what the files of a record hold now, 16 digits; one that is not there counts as such."""
    stamps = stamp_record(record, folder)
    held = [None if stamp is None else (stamp.size, stamp.digest) for stamp in stamps]
    return hashlib.blake2b(json.dumps(held).encode(), digest_size=8).hexdigest()


def _files(record: FaceRecord, folder: Path) -> list[Path]:
    paths = record.media_paths(folder)
    return [*paths, place_of(folder, record.landmarks)] if isinstance(record.landmarks, str) else paths


def _size_and_time(path: Path) -> tuple[int, int] | None:
    try:
        require_here(path)
        found = path.stat()
    except (OSError, ValueError):  # the latter of a name that no file can have
        return None
    return found.st_size, found.st_mtime_ns


def _stamp(path: Path) -> FileStamp | None:
    known = _size_and_time(path)
    try:
        return None if known is None or not path.is_file() else FileStamp(*known, _digest(path, *known))
    except OSError:
        return None


@lru_cache(maxsize=1024)  # a video may have thousands of records
def _digest(path: Path, size: int, modified: int) -> str:
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        for offset in (0,) if size <= _WHOLE else (0, size // 2, size - _PART):
            file.seek(offset)
            digest.update(file.read(_WHOLE if size <= _WHOLE else _PART))
    return digest.hexdigest()
