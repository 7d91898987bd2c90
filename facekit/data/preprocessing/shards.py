"""Units of preprocessing and their output shards, each with a note that marks it as done.

Unit and shard have the same number, whoever prepared them in whatever order, so that the output does not depend on the
number of workers and an interrupted run needs no log.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from facekit.data.atomic import write_text_atomically
from facekit.data.preprocessing.faces import PreparedRecord, RecordFailure
from facekit.data.preprocessing.settings import PreprocessSettings
from facekit.data.records import FaceRecord, format_record
from facekit.errors import MissingExtraError

NOTES = "units"


@dataclass(frozen=True)
class Unit:
    """Records that become one shard.

    Args:
        number: From 0.
        first: Number of its first record in the input.
        records: The records.
    """

    number: int
    first: int
    records: tuple[FaceRecord, ...]

    def fingerprint(self, settings: PreprocessSettings) -> str:
        """A checksum of the records and of what is done to them."""
        digest = hashlib.sha256(settings.fingerprint.encode())
        for record in self.records:
            digest.update(format_record(record).encode())
        return digest.hexdigest()


class UnitNote(BaseModel):
    """What came of a unit.

    Attributes:
        fingerprint: Of the unit and the settings.
        shard: Name of the shard; None where no record has a crop.
        bytes: Size of the shard.
        sha256: Checksum of the shard.
        records: Records in the shard.
        failures: The records that are not.
    """

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    shard: str | None
    bytes: int
    sha256: str | None
    records: int
    failures: list[RecordFailure]


def cut_units(records: Iterable[FaceRecord], size: int) -> Iterator[Unit]:
    """Cut a stream of records into units."""
    stream = iter(records)
    number = 0
    while chunk := tuple(islice(stream, size)):
        yield Unit(number, number * size, chunk)
        number += 1


def write_unit(
    unit: Unit, prepared: Sequence[PreparedRecord | RecordFailure], output: Path, settings: PreprocessSettings
) -> UnitNote:
    """Write the shard and then its note; equal input gives equal bytes.

    Raises:
        MissingExtraError: ``webdataset`` is not installed.
    """
    kept = [(unit.first + index, item) for index, item in enumerate(prepared) if isinstance(item, PreparedRecord)]
    failures = [item for item in prepared if isinstance(item, RecordFailure)]
    path = shard_path(output, unit.number)
    path.unlink(missing_ok=True)
    note = UnitNote(
        fingerprint=unit.fingerprint(settings), shard=None, bytes=0, sha256=None, records=len(kept), failures=failures
    )
    if kept:
        _write_tar(path, kept)
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        note = note.model_copy(update={"shard": path.name, "bytes": path.stat().st_size, "sha256": checksum})
    write_text_atomically(note_path(output, unit.number), note.model_dump_json() + "\n")
    return note


def finished_note(unit: Unit, output: Path, settings: PreprocessSettings) -> UnitNote | None:
    """The note of a unit that an earlier run finished with this input and these settings, or None."""
    try:
        note = UnitNote.model_validate_json(note_path(output, unit.number).read_bytes())
    except (OSError, ValidationError):
        return None
    if note.fingerprint != unit.fingerprint(settings):
        return None
    if note.shard is None:
        return note
    path = output / note.shard
    return note if path.is_file() and path.stat().st_size == note.bytes else None


def shard_path(output: Path, number: int) -> Path:
    """Where a unit's shard is."""
    return output / f"shard-{number:06d}.tar"


def note_path(output: Path, number: int) -> Path:
    """Where a unit's note is."""
    return output / NOTES / f"{number:06d}.json"


def require_webdataset() -> Any:
    """The package that writes shards.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import webdataset
    except ImportError as error:
        raise MissingExtraError("shards need webdataset; pip install 'facekit-mllm[datasets]'") from error
    return webdataset


def _write_tar(path: Path, kept: Sequence[tuple[int, PreparedRecord]]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with require_webdataset().TarWriter(str(temporary), encoder=False, mtime=0.0) as sink:
            for number, item in kept:
                key = f"{number:09d}"
                sample: dict[str, Any] = {"__key__": key, "json": format_record(item.record).encode()}
                for name, content in item.files.items():
                    sample[Path(name).name.removeprefix(f"{key}.")] = content
                sink.write(sample)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
