"""Units of preprocessing and their output shards, each with a note that marks it as done.

Unit and shard have the same number, whoever prepared them in whatever order, so that the output does not depend on the
number of workers and an interrupted run needs no log.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from facekit.data.atomic import explained_writes, write_text_atomically
from facekit.data.formats.shards import SHARD_TIME, sample_fields
from facekit.data.preprocessing.faces import Outcome, PreparedRecord
from facekit.data.preprocessing.failures import RecordFailure
from facekit.data.preprocessing.settings import PreprocessSettings
from facekit.data.preprocessing.stamps import Stamps, compare_stamps, stamp_record
from facekit.data.records import FaceRecord, format_record
from facekit.data.shard_index import list_samples
from facekit.errors import ConfigurationError, MissingExtraError

NOTES = "units"
_INDEX_DIGITS = 9


@dataclass(frozen=True)
class Unit:
    """Records that become one shard.

    Args:
        number: From 0.
        first: Index of its first record in the input.
        records: The records.
        again: Indices in the input of the records to be worked on, where the shard keeps the others; None for all.
    """

    number: int
    first: int
    records: tuple[FaceRecord, ...]
    again: tuple[int, ...] | None = None

    def fingerprint(self, settings: PreprocessSettings) -> str:
        """A checksum of the records and of what is done to them."""
        digest = hashlib.sha256(settings.fingerprint.encode())
        for record in self.records:
            digest.update(format_record(record).encode())
        return digest.hexdigest()

    def to_do(self) -> list[tuple[int, FaceRecord]]:
        """The records to be worked on, each with its index in the input."""
        everything = list(enumerate(self.records, self.first))
        return everything if self.again is None else [each for each in everything if each[0] in self.again]


class UnitNote(BaseModel):
    """The outcome of a unit.

    Attributes:
        fingerprint: Of the unit and the settings.
        shard: Name of the shard; None where no record has a crop.
        bytes: Size of the shard.
        sha256: Checksum of the shard.
        records: Records in the shard.
        failures: The records of the input that are not.
        inputs: For each record of the input, what its files were.
    """

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    shard: str | None
    bytes: int
    sha256: str | None
    records: int
    failures: list[RecordFailure]
    inputs: list[Stamps]


def cut_units(records: Iterable[FaceRecord], size: int) -> Iterator[Unit]:
    """Cut a stream of records into units."""
    stream = iter(records)
    number = 0
    while chunk := tuple(islice(stream, size)):
        yield Unit(number, number * size, chunk)
        number += 1


def write_unit(unit: Unit, fresh: Sequence[Outcome], output: Path, settings: PreprocessSettings) -> UnitNote:
    """Write the shard and then its note; equal input gives equal bytes.

    Args:
        unit: The unit.
        fresh: What came of the records of ``unit.to_do()``; what came of the others is taken from the shard as it is.
        output: The folder of the shards.
        settings: What was done.

    Raises:
        MissingExtraError: ``webdataset`` is not installed.
        OutputError: The shard cannot be written.
    """
    outcomes = {} if unit.again is None else _kept_outcomes(unit, output)
    outcomes |= {index: outcome for (index, _), outcome in zip(unit.to_do(), fresh, strict=True)}
    ordered = [outcomes[index] for index in range(unit.first, unit.first + len(unit.records))]
    kept = [face for outcome in ordered for face in outcome.faces]
    path = shard_path(output, unit.number)
    note = UnitNote(
        fingerprint=unit.fingerprint(settings), shard=None, bytes=0, sha256=None, records=len(kept),
        failures=[outcome.failure for outcome in ordered if outcome.failure is not None],
        inputs=[outcome.stamps for outcome in ordered],
    )  # fmt: skip
    with explained_writes(f"{path} cannot be written"):
        note_path(output, unit.number).unlink(missing_ok=True)
        if kept:
            _write_tar(path, kept)
            facts = {"shard": path.name, "bytes": path.stat().st_size, "sha256": _checksum(path)}
            note = note.model_copy(update=facts)
        else:
            path.unlink(missing_ok=True)
    return write_note(unit, note, output)


def write_note(unit: Unit, note: UnitNote, output: Path) -> UnitNote:
    """Write the note of a unit and return it."""
    write_text_atomically(note_path(output, unit.number), note.model_dump_json() + "\n")
    return note


def look_at_unit(
    unit: Unit, output: Path, folder: Path, settings: PreprocessSettings, *, retry_failed: bool = False
) -> tuple[Unit, UnitNote | None]:
    """What is left to do for a unit, of which an earlier run may have done all or a part.

    All is left where its input or the settings are others, or the shard is missing or differs from its checksum.
    Otherwise those records are left whose files have changed since, and those that failed for a reason that may pass.

    Args:
        unit: The unit.
        output: The folder of the shards.
        folder: The folder that the records' paths are relative to.
        settings: What is done.
        retry_failed: Whether every record that failed is left.

    Returns:
        The unit with what is left in ``again``, and the note of it as it is where nothing is.
    """
    note = _read_note(unit, output, settings)
    if note is None or not _is_whole(note, output):
        return unit, None
    again = {failure.index for failure in note.failures if failure.may_pass or retry_failed}
    inputs = []
    for (index, record), before in zip(enumerate(unit.records, unit.first), note.inputs, strict=True):
        now = compare_stamps(record, folder, before)
        inputs.append(before if now is None else now)
        if now is None:
            again.add(index)
    if again:
        return replace(unit, again=tuple(sorted(again))), None
    if inputs != note.inputs:
        note = write_note(unit, note.model_copy(update={"inputs": inputs}), output)
    return unit, note


def is_noted(unit: Unit, output: Path, settings: PreprocessSettings) -> bool:
    """Whether an earlier run noted that a unit of these records and settings is done; its files are not read."""
    return _read_note(unit, output, settings) is not None


def refuse_another_dataset(unit: Unit, output: Path, folder: Path, settings: PreprocessSettings) -> None:
    """Look whether the shards that are there are of the same dataset, by the contents of its files.

    Ids and texts of records may have changed since, the dataset may have moved, and records may have come and gone: it
    is the same one where a single file of its first unit is known.

    Args:
        unit: The first unit of the input.
        output: The folder of the shards.
        folder: The folder that the records' paths are relative to.
        settings: What is done.

    Raises:
        ConfigurationError: No file of the unit was among the files of the shards that are there.
    """
    if is_noted(unit, output, settings):
        return
    known: set[str] = set()
    for path in (output / NOTES).glob("*.json"):
        try:
            note = UnitNote.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
        known.update(stamp.digest for stamps in note.inputs for stamp in stamps if stamp is not None)
    if not known:
        return
    here = [stamp for record in unit.records for stamp in stamp_record(record, folder) if stamp is not None]
    if here and not any(stamp.digest in known for stamp in here):
        raise ConfigurationError(
            f"{output} holds shards of other pictures, which would be replaced; name another folder, or remove it"
        )


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


def _read_note(unit: Unit, output: Path, settings: PreprocessSettings) -> UnitNote | None:
    try:
        note = UnitNote.model_validate_json(note_path(output, unit.number).read_bytes())
    except (OSError, ValidationError):
        return None
    fits = note.fingerprint == unit.fingerprint(settings) and len(note.inputs) == len(unit.records)
    return note if fits else None


def _is_whole(note: UnitNote, output: Path) -> bool:
    if note.shard is None:
        return True
    path = output / note.shard
    try:
        return path.stat().st_size == note.bytes and _checksum(path) == note.sha256
    except OSError:
        return False


def _kept_outcomes(unit: Unit, output: Path) -> dict[int, Outcome]:
    """What came of the records of a unit whose shard and note are whole, by index in the input."""
    note = UnitNote.model_validate_json(note_path(output, unit.number).read_bytes())
    faces: dict[int, list[PreparedRecord]] = {}
    for sample in list_samples(shard_path(output, unit.number)) if note.shard is not None else ():
        content = sample.read()
        record = FaceRecord.model_validate_json(content["json"])
        files = {name: content[field] for field, name in sample_fields(record).items()}
        faces.setdefault(int(sample.key[:_INDEX_DIGITS]), []).append(PreparedRecord(sample.key, record, files))
    failures = {failure.index: failure for failure in note.failures}
    return {
        index: Outcome(stamps, tuple(faces.get(index, ())), failures.get(index))
        for index, stamps in enumerate(note.inputs, unit.first)
    }


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_tar(path: Path, kept: Sequence[PreparedRecord]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with require_webdataset().TarWriter(str(temporary), encoder=False, mtime=SHARD_TIME) as sink:
            for item in kept:
                sample: dict[str, Any] = {"__key__": item.key, "json": format_record(item.record).encode()}
                for name, content in item.files.items():
                    sample[Path(name).name.removeprefix(f"{item.key}.")] = content
                sink.write(sample)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
