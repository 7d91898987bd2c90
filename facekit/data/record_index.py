"""The index of a records file: where each record's line is, kept beside the file and memory-mapped.

A file of a million records with landmarks takes minutes and gigabytes to read whole, in every process that reads it. So
each line is checked once, and where it lies is written to ``.facekit/NAME.index`` beside the file, with what a data set
asks of every record at its start (``facekit.data.record_facts``). From then on the file opens at once, and
``facekit.data.stored_records`` reads a record when it is asked for. The JSON lines stay what people read and exchange;
the index may be removed at any time.

An index counts only for the file that it was made of. Size, inode and times of change decide at once; where only those
differ and the size does not (a copy, a ``touch``), the digest of the contents does.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import ValidationError

from facekit import __version__
from facekit.data.atomic import write_bytes_atomically
from facekit.data.record_facts import FACTS, fact_of, identity_line
from facekit.data.records import FaceRecord, describe_problem, read_line
from facekit.data.skipping import SkippedRecord
from facekit.errors import RecordError

__all__ = ["REPEATED_ID", "FileStamp", "LineReader", "RecordIndex", "index_folder", "index_path", "open_index"]

logger = logging.getLogger(__name__)

REPEATED_ID = "an earlier record has the same id; ids are unique in a file"
"""Why a record whose id another has is not used."""

_MAGIC = b"FKINDEX2"
_ROW = np.dtype([("start", "<u8"), ("length", "<u4"), ("facts", FACTS)])
_CHUNK = 1 << 22


@dataclass(frozen=True)
class FileStamp:
    """What tells one state of a file from another without reading it.

    Args:
        size: In bytes.
        modified: Nanoseconds since the epoch at which its contents were last written.
        changed: The same of its contents or metadata, which nobody can set.
        inode: Its number in the file system.
    """

    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, file: BinaryIO) -> FileStamp:
        """The stamp of an open file."""
        found = os.fstat(file.fileno())
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


@dataclass(frozen=True)
class RecordIndex:
    """Where the records of a file are.

    Args:
        rows: ``(N,)`` with ``start`` and ``length`` in bytes and the ``facts``, in the order of the file.
        broken: Entries that are no records, by their index among all entries.
        stamp: The state of the file that was indexed.
        digest: BLAKE2b of its contents.
        content: SHA-256 of the records, one JSON line each, as ``facekit.data.identity`` counts it.
    """

    rows: np.ndarray
    broken: tuple[SkippedRecord, ...]
    stamp: FileStamp
    digest: str
    content: str


class LineReader:
    """Turns the entries of a records file, one after the other, into records or the reasons why they are none."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._entries = 0

    def read(self, line: bytes, number: int) -> FaceRecord | SkippedRecord:
        """Read a line that is not blank; an id that an earlier record has makes it unusable too.

        Args:
            line: The line.
            number: Its number in the file, for the reason.
        """
        entry = _read_line(line, self._entries, number)
        self._entries += 1
        if isinstance(entry, SkippedRecord):
            return entry
        if entry.id in self._seen:
            return SkippedRecord(self._entries - 1, entry.id, REPEATED_ID)
        self._seen.add(entry.id)
        return entry


def index_path(path: Path) -> Path:
    """Where the index of a records file is."""
    return index_folder(path) / f"{path.name}.index"


def index_folder(path: Path) -> Path:
    """Where what is noted about a records file is: a folder, so that that of the records itself does not change."""
    return path.parent / ".facekit"


def open_index(path: Path, file: BinaryIO) -> RecordIndex:
    """The index of a records file, made anew where there is none that fits.

    Of several processes that call this at once, one makes it and the others wait for it.

    Args:
        path: The records file.
        file: The same, open for reading bytes.

    Raises:
        OutputError: The index cannot be written beside the file.
        RecordError: The file changes while it is read.
    """
    stamp = FileStamp.of(file)
    found = _read_index(index_path(path))
    if found is not None and found.stamp == stamp:
        return found
    with _held(file):
        found = _read_index(index_path(path))
        if found is not None and found.stamp == stamp:
            return found
        if found is not None and found.stamp.size == stamp.size and found.digest == _digest(file):
            made = replace(found, stamp=stamp)
        else:
            logger.info("indexing %s (%.1f GB), once until it changes", path, stamp.size / 1e9)
            made = _make_index(file, stamp)
        if FileStamp.of(file) != stamp:
            raise RecordError(f"{path} changed while it was read; wait until it is written, then start again")
        _write_index(index_path(path), made)
    written = _read_index(index_path(path))
    # Another process may have indexed a newer file of that name since.
    return written if written is not None and written.stamp == stamp else made


def _make_index(file: BinaryIO, stamp: FileStamp) -> RecordIndex:
    rows = np.empty(1024, _ROW)
    count = position = 0
    broken: list[SkippedRecord] = []
    digest, content, reader = hashlib.blake2b(digest_size=16), hashlib.sha256(), LineReader()
    file.seek(0)
    for number, line in enumerate(file, 1):
        digest.update(line)
        if line.strip():
            entry = reader.read(line, number)
            if isinstance(entry, SkippedRecord):
                broken.append(entry)
            else:
                if count == len(rows):
                    rows = np.concatenate([rows, np.empty(len(rows), _ROW)])
                rows[count] = (position, len(line), fact_of(entry))
                content.update(identity_line(entry).encode() + b"\n")
                count += 1
        position += len(line)
    return RecordIndex(rows[:count].copy(), tuple(broken), stamp, digest.hexdigest(), content.hexdigest())


def _digest(file: BinaryIO) -> str:
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _write_index(path: Path, index: RecordIndex) -> None:
    rows = np.ascontiguousarray(index.rows).tobytes()
    head = {
        "version": __version__,
        "stamp": asdict(index.stamp),
        "digest": index.digest,
        "content": index.content,
        "count": len(index.rows),
        "check": zlib.crc32(rows),
        "broken": [asdict(entry) for entry in index.broken],
    }
    text = json.dumps(head).encode()
    write_bytes_atomically(path, _MAGIC + len(text).to_bytes(8, "little") + text + rows)


def _read_index(path: Path) -> RecordIndex | None:
    """What ``_write_index`` wrote; None where there is nothing, or it is damaged or of another version."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            length = int.from_bytes(file.read(8), "little")
            if length > os.fstat(file.fileno()).st_size:
                return None
            head = json.loads(file.read(length))
            if head["version"] != __version__:
                return None
            offset, count = file.tell(), int(head["count"])
            if offset + count * _ROW.itemsize != os.fstat(file.fileno()).st_size:
                return None
            rows = np.memmap(file, _ROW, "r", offset, (count,)) if count else np.empty(0, _ROW)
        if zlib.crc32(rows.tobytes()) != head["check"]:
            return None
        broken = tuple(SkippedRecord(**entry) for entry in head["broken"])
        return RecordIndex(rows, broken, FileStamp(**head["stamp"]), str(head["digest"]), str(head["content"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _held(file: BinaryIO) -> Iterator[None]:
    """Keep other processes out that index the same file; file systems without locks let all of them do the work."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        logger.debug("%s cannot be locked (%s)", file.name, error.strerror)
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _read_line(line: bytes, index: int, number: int) -> FaceRecord | SkippedRecord:
    try:
        return read_line(line)
    except ValidationError as error:
        reason = describe_problem(error)
    try:
        found = json.loads(line)["id"]
    except (ValueError, KeyError, TypeError):
        found = None
    name = found if isinstance(found, str) and found else f"line {number}"
    return SkippedRecord(index, name, f"line {number}: {reason}")
