"""Lenient reading: what is well-formed in a records file, and every entry that is not, with its reason.

Evaluation and conversion stop at the first malformed entry. A training run lists all of them at once, leaves them out
and counts them, as it does with records whose pictures cannot be opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from facekit.data.dataset import RecordSet
from facekit.data.formats import base_folder, detect_format
from facekit.data.formats import read_records as read_any_records
from facekit.data.formats.chat import read_chat
from facekit.data.record_files import open_record_file
from facekit.data.record_index import REPEATED_ID, LineReader
from facekit.data.records import FaceRecord
from facekit.data.skipping import SkippedRecord
from facekit.data.stored_records import open_stored
from facekit.errors import RecordError
from facekit.remote.mirror import local_copy

Entry = FaceRecord | SkippedRecord


def read_leniently(path: str | Path) -> RecordSet:
    """Read a records file, or a file in another format, and keep what is malformed apart.

    Whether the media of a record are there is not looked at.

    Args:
        path: The file.

    Returns:
        The records, and what cannot be used under ``broken``: lines that are no record, samples that a record cannot
        hold, and those that repeat an id.

    Raises:
        RecordError: The file cannot be opened, is of no known format, or has not one record in it.
    """
    path = local_copy(path)
    is_own = path.suffix == ".jsonl" or not path.exists()
    stored = open_stored(path) if is_own else None
    if stored is not None:
        records: Sequence[FaceRecord] = stored
        broken, folder = stored.broken, path.parent
    else:
        folder = path.parent if is_own else base_folder(path)
        records, broken = _separate(_iterate_lines(path) if is_own else _without_repeats(_iterate_other(path)))
    if not records:
        first = f"; the first: {broken[0].reason}" if broken else ""
        raise RecordError(
            f"records file {path} has no records that can be used{first}; check the path, or write it again"
        )
    return RecordSet(records, folder, broken)


def _separate(entries: Iterator[Entry]) -> tuple[tuple[FaceRecord, ...], tuple[SkippedRecord, ...]]:
    records: list[FaceRecord] = []
    broken: list[SkippedRecord] = []
    for entry in entries:
        if isinstance(entry, SkippedRecord):
            broken.append(entry)
        else:
            records.append(entry)
    return tuple(records), tuple(broken)


def _iterate_lines(path: Path) -> Iterator[Entry]:
    """The lines of facekit's own format; bytes that are no UTF-8 make one line malformed."""
    reader = LineReader()
    with open_record_file(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield reader.read(line, number)


def _without_repeats(entries: Iterator[Entry]) -> Iterator[Entry]:
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if isinstance(entry, FaceRecord):
            if entry.id in seen:
                entry = SkippedRecord(index, entry.id, REPEATED_ID)
            else:
                seen.add(entry.id)
        yield entry


def _iterate_other(path: Path) -> Iterator[Entry]:
    """The samples of another format; of LLaVA and ShareGPT files the malformed ones too."""
    if detect_format(path) not in ("llava", "sharegpt"):
        yield from read_any_records(path)
        return
    refused: list[SkippedRecord] = []

    def refuse(number: int, identity: str, reason: str) -> None:
        refused.append(SkippedRecord(number - 1, identity, reason))

    for record in read_chat(path, refuse=refuse):
        yield from refused
        refused.clear()
        yield record
    yield from refused
