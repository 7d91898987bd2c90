"""Records that stay in their file: a sequence that reads a record where it is asked for.

What a process holds of a set does not grow with the set: 29 bytes a record, mapped from the index
(``facekit.data.record_index``) and shared by all processes on the machine. A data loader's worker gets the path and
opens the file itself.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import ValidationError

from facekit.counted import counted
from facekit.data.lazy_records import LazyRecords
from facekit.data.record_files import unopened
from facekit.data.record_index import FileStamp, RecordIndex, open_index
from facekit.data.records import FaceRecord, describe_problem, read_line
from facekit.data.skipping import SkippedRecord
from facekit.errors import OutputError, RecordError

__all__ = ["STORED_FROM", "StoredRecords", "open_stored", "require_whole"]

logger = logging.getLogger(__name__)

STORED_FROM = 16 << 20
"""Bytes from which on a records file is indexed; smaller ones are read whole, which takes a second."""


class StoredRecords(LazyRecords):
    """The records of a file, or some of them.

    Args:
        path: The records file.
        file: The same, open for reading bytes; stays open as long as this or a selection of it lives.
        index: Where the records are.
        chosen: Which of them are in this sequence, in its order; None for all.
    """

    def __init__(self, path: Path, file: BinaryIO, index: RecordIndex, chosen: np.ndarray | None = None) -> None:
        super().__init__(len(index.rows), chosen)
        self.path = path
        self.file_index = index
        self._file = file

    @property
    def broken(self) -> tuple[SkippedRecord, ...]:
        """Entries of the file that are no records."""
        return self.file_index.broken

    @property
    def _all_facts(self) -> np.ndarray:
        facts: np.ndarray = self.file_index.rows["facts"]
        return facts

    @property
    def _whole_content(self) -> str:
        return self.file_index.content

    def __repr__(self) -> str:
        return f"StoredRecords({str(self.path)!r}, {counted(len(self), 'record')})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.file_index.digest, self._chosen)

    def _choose(self, chosen: np.ndarray) -> StoredRecords:
        return StoredRecords(self.path, self._file, self.file_index, chosen)

    def _read(self, row: int) -> FaceRecord:
        if FileStamp.of(self._file) != self.file_index.stamp and not self._only_renamed():
            raise RecordError(f"{self.path} was written to while it was in use; start again, so that it is read anew")
        found = self.file_index.rows[row]
        start, length = int(found["start"]), int(found["length"])
        line = os.pread(self._file.fileno(), length, start)
        try:
            return read_line(line)
        except ValidationError as error:
            raise RecordError(f"{self.path}, byte {start}: {describe_problem(error)}") from error

    def _only_renamed(self) -> bool:
        """Whether the open file's contents are as they were, though its links or its mode changed."""
        now, then = FileStamp.of(self._file), self.file_index.stamp
        return (now.size, now.modified, now.inode) == (then.size, then.modified, then.inode)


def open_stored(path: str | Path, *, least_bytes: int | None = None) -> StoredRecords | None:
    """Open a large records file without reading it, once it has been indexed.

    Args:
        path: A JSON-lines file; blank lines are skipped.
        least_bytes: Return None for smaller files; ``STORED_FROM`` by default.

    Returns:
        Its records, and under ``broken`` the lines that are none; None where the file is small, or its index can
        neither be found nor written.

    Raises:
        RecordError: The file cannot be opened, or changes while it is read.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise unopened(path, error) from error
    if FileStamp.of(file).size < (STORED_FROM if least_bytes is None else least_bytes):
        file.close()
        return None
    try:
        return StoredRecords(path, file, open_index(path, file))
    except OutputError as error:
        file.close()
        logger.warning("%s is read whole into memory: its index cannot be written beside it (%s)", path, error)
        return None
    except BaseException:
        file.close()
        raise


def require_whole(records: StoredRecords) -> None:
    """Make sure that every entry of a file is a record; raises ``RecordError`` with file and line where one is not."""
    if records.broken:
        first = records.broken[0]
        place = first.reason if first.reason.startswith("line ") else f"record {first.id!r}: {first.reason}"
        raise RecordError(f"{records.path}, {place}")


def _reopen(path: Path, digest: str, chosen: np.ndarray | None) -> StoredRecords:
    """What ``StoredRecords.__reduce__`` tells another process to do."""
    records = open_stored(path, least_bytes=0)
    if records is None or records.file_index.digest != digest:
        raise RecordError(f"{path} was replaced while it was in use; start again, so that it is read anew")
    return StoredRecords(path, records._file, records.file_index, chosen)
