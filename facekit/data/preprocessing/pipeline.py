"""Preprocessing of a whole dataset, resumable, with a summary."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from facekit.data.atomic import open_atomically, write_text_atomically
from facekit.data.convert import describe_nothing, open_records
from facekit.data.formats.shards import MANIFEST
from facekit.data.locking import LOCK, hold_folder
from facekit.data.preprocessing.engines import Crashed, run_alone, run_tasks
from facekit.data.preprocessing.faces import Outcome, prepare_records, shared_landmarker
from facekit.data.preprocessing.failures import describe_crash
from facekit.data.preprocessing.settings import PreprocessSettings
from facekit.data.preprocessing.shards import (
    NOTES,
    Unit,
    UnitNote,
    cut_units,
    look_at_unit,
    note_path,
    refuse_another_dataset,
    require_webdataset,
    shard_path,
    write_unit,
)
from facekit.data.preprocessing.stamps import stamp_record
from facekit.data.records import FaceRecord
from facekit.data.sources import SourceSummary
from facekit.deprecations import renamed_arguments
from facekit.errors import ConfigurationError, RecordError
from facekit.remote.addresses import is_mirrored
from facekit.remote.uploads import HIDDEN_NAMES, uploaded_folder
from facekit.reports import ProgressListener

FAILURES = "failures.jsonl"
FEATURES = "features"
_OUTPUT_NAMES = {NOTES, MANIFEST, FAILURES, FEATURES, LOCK}


@dataclass(frozen=True)
class PreprocessProgress:
    """Progress of a preprocessing run.

    Args:
        done: Records that are done, by this run or an earlier one.
        total: Records in all.
        failed: Those of the done ones that have no crop.
        records_per_second: Of this run.
        seconds_left: Estimate; None before the first record of this run.
        stage: What goes on.
    """

    done: int
    total: int
    failed: int
    records_per_second: float
    seconds_left: float | None = None
    stage: str = "preprocess"

    @property
    def unit(self) -> str:
        """What is counted."""
        return "records"

    @property
    def detail(self) -> str:
        """Failures and rate in a few words."""
        return f"{self.failed:,} failed, {self.records_per_second:.1f} records/s"


@dataclass(frozen=True)
class PreprocessResult:
    """The result of a preprocessing run.

    Args:
        output: The folder of the shards.
        records: Records in them.
        shards: How many there are.
        reused: Records of the input that an earlier run had done already.
        failures: Records of the input without a crop, by kind of error.
        summary: The report on the source, where the input was a dataset.
        inputs: Records of the input.
    """

    output: Path
    records: int
    shards: int
    reused: int
    failures: dict[str, int]
    summary: SourceSummary | None = None
    inputs: int = 0

    @property
    def failed(self) -> int:
        """Records without a crop, and files of the source that did not become records."""
        return sum(self.failures.values()) + (self.summary.lost if self.summary is not None else 0)


@renamed_arguments(output="output_dir")
def preprocess(
    origin: str,
    output_dir: str | Path,
    settings: PreprocessSettings | None = None,
    *,
    split: str | None = None,
    media_folder: str | Path | None = None,
    retry_failed: bool = False,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    on_progress: ProgressListener | None = None,
) -> PreprocessResult:
    """Crop the faces of a dataset into WebDataset shards with landmarks, labels and all else that the records hold.

    The shards are read by ``facekit.data.formats.read_records``. A run may be stopped at any moment, and again started
    with the same arguments: shards of the same records and settings are kept if they still have their checksum. Of
    them, records are done again that failed for a reason that may pass (want of memory, a disk, a network, permissions)
    and those whose picture or clip has other contents than before. The output does not depend on the engine or the
    number of workers. Beside the shards are ``manifest.json`` with counts and checksums, and ``failures.jsonl`` with a
    reason for every record that has no crop. One run at a time works on a folder.

    Args:
        origin: A file of records in any format, here or at an address, or a dataset as ``name:root``.
        output_dir: The folder to write, or its address: what is there is fetched first, and the shards are uploaded
            when the run ends.
        settings: What is done to a record.
        split: Only the records of one split.
        media_folder: The folder that the paths in a file are relative to.
        retry_failed: Do every record again that failed, for whatever reason.
        workers: Processes, or Ray tasks at a time.
        engine: ``local`` or ``ray``; a Ray cluster must share the file system.
        address: The Ray cluster to join.
        on_progress: Called with a ``PreprocessProgress`` after every shard.

    Returns:
        What was made.

    Raises:
        RecordError: The input is not as expected, or has no record.
        UnknownPartError: There is no such dataset or landmarker.
        ConfigurationError: An argument is out of its range, the folder holds something else, such as the shards of
            another dataset, or another run works on it.
        MissingExtraError: A package is not installed.
        OutputError: The folder cannot be written to.
    """
    settings = settings or PreprocessSettings()
    with uploaded_folder(output_dir) as place:
        output = place.expanduser().resolve()
        check_output(output)
        require_webdataset()
        shared_landmarker(settings.landmarker)
        total = _count(origin, split, media_folder)
        records, folder, summary = open_records(origin, split=split, media_folder=media_folder)
        with hold_folder(output):
            run = _Run(settings, folder.resolve(), output, total, on_progress, retry_failed=retry_failed)
            tasks = run.units_to_do(records)
            work = partial(_do_unit, folder=run.folder, output=output, settings=settings)
            for done in run_tasks(work, tasks, engine=engine, workers=workers, address=address):
                run.finish(_do_unit_apart(done.task, run) if isinstance(done, Crashed) else done)
            result = run.close(summary)
    return replace(result, output=Path(output_dir)) if is_mirrored(output) else result


def _count(origin: str, split: str | None, media_folder: str | Path | None) -> int:
    records, _, summary = open_records(origin, split=split, media_folder=media_folder)
    total = sum(1 for _ in records)
    if not total:
        raise RecordError(describe_nothing(origin, split, summary))
    return total


class _Run:
    """The counts of one run, and the files that it leaves beside the shards."""

    def __init__(
        self,
        settings: PreprocessSettings,
        folder: Path,
        output: Path,
        total: int,
        on_progress: ProgressListener | None,
        *,
        retry_failed: bool,
    ) -> None:
        self.settings = settings
        self.retry_failed = retry_failed
        self.folder = folder
        self.output = output
        self._total = total
        self._on_progress = on_progress
        self._started = time.monotonic()
        self._done = self._reused = self._failed = self._units = 0

    def units_to_do(self, records: Iterator[FaceRecord]) -> Iterator[Unit]:
        """The units that no earlier run has finished, each with what is left of it."""
        for whole in cut_units(records, self.settings.records_per_shard):
            self._units = whole.number + 1
            if whole.number == 0:
                refuse_another_dataset(whole, self.output, self.folder, self.settings)
            unit, note = look_at_unit(whole, self.output, self.folder, self.settings, retry_failed=self.retry_failed)
            self._reused += len(unit.records) - (0 if note is not None else len(unit.to_do()))
            if note is None:
                yield unit
            else:
                self.finish(note)

    def finish(self, note: UnitNote) -> None:
        """Count a unit and call the listener."""
        self._done += len(note.inputs)
        self._failed += len(note.failures)
        if self._on_progress is not None:
            seconds = max(time.monotonic() - self._started, 1e-9)
            rate = max(0, self._done - self._reused) / seconds
            left = max(0, self._total - self._done) / rate if rate > 0 else None
            self._on_progress(PreprocessProgress(self._done, self._total, self._failed, rate, left))

    def close(self, summary: SourceSummary | None) -> PreprocessResult:
        """Write the manifest and the failures, and remove what an earlier, longer input left."""
        self._remove_surplus()
        kinds: Counter[str] = Counter()
        shards, records = [], 0
        with open_atomically(self.output / FAILURES) as failures:
            for number in range(self._units):
                note = UnitNote.model_validate_json(note_path(self.output, number).read_bytes())
                records += note.records
                if note.shard is not None:
                    shards.append(
                        {"name": note.shard, "bytes": note.bytes, "sha256": note.sha256, "records": note.records}
                    )
                for failure in note.failures:
                    kinds[failure.kind] += 1
                    failures.write(json.dumps(asdict(failure), ensure_ascii=False) + "\n")
        failures_by_kind = dict(kinds.most_common())
        inputs = {"records": self._done, "kept": self._done - kinds.total(), "failed": failures_by_kind}
        if summary is not None:
            inputs["source"] = summary.count_outcomes()
        manifest = {
            "format": "facekit webdataset",
            "records": records,
            "input": inputs,
            "failures": failures_by_kind,
            "settings": self.settings.model_dump(mode="json"),
            "shards": shards,
        }
        write_text_atomically(self.output / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        return PreprocessResult(self.output, records, len(shards), self._reused, failures_by_kind, summary, self._done)

    def _remove_surplus(self) -> None:
        for note in (self.output / NOTES).glob("*.json"):
            if int(note.stem) >= self._units:
                shard_path(self.output, int(note.stem)).unlink(missing_ok=True)
                note.unlink()


def _do_unit(unit: Unit, *, folder: Path, output: Path, settings: PreprocessSettings) -> UnitNote:
    return write_unit(unit, prepare_records(unit.to_do(), folder, settings), output, settings)


def _do_unit_apart(unit: Unit, run: _Run) -> UnitNote:
    """Work on every record of a unit in a process of its own, so that only the one at fault is lost."""
    outcomes: list[Outcome] = []
    for index, record in unit.to_do():
        result = run_alone(partial(prepare_records, folder=run.folder, settings=run.settings), [(index, record)])
        if isinstance(result, Crashed):
            outcomes.append(Outcome(stamp_record(record, run.folder), failure=describe_crash(record, index)))
        else:
            outcomes += result
    return write_unit(unit, outcomes, run.output, run.settings)


def check_output(output: Path) -> None:
    """Raise ``ConfigurationError`` where a folder holds what preprocessing did not write."""
    if output.is_file():
        raise ConfigurationError(f"{output} is a file; name a folder for the shards")
    if not output.is_dir():
        return
    foreign = [
        entry.name
        for entry in output.iterdir()
        if entry.name not in _OUTPUT_NAMES | HIDDEN_NAMES and not entry.name.lstrip(".").startswith("shard-")
    ]
    if foreign:
        raise ConfigurationError(f"{output} holds {foreign[0]}, which preprocessing did not write; name another folder")
