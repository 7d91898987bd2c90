"""All records checked before the first step: what cannot be used is known by then, named and counted.

A run that is resumed must leave out what it left out before, so what was found is remembered beside the run. Processes
of a distributed run share the work and what they found.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import time
import traceback
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from facekit import __version__
from facekit.cores import count_usable_cores
from facekit.data.atomic import write_text_atomically
from facekit.data.checking import check_record
from facekit.data.dataset import DatasetOptions, RecordSet
from facekit.data.identity import describe_records
from facekit.data.shortened import ShortenedRecord
from facekit.data.skipping import SkippedRecord
from facekit.data.usable import UsableQuestions
from facekit.errors import RecordError, first_line
from facekit.models.processing import FaceKitProcessor
from facekit.reports import ProgressListener, ProgressMeter
from facekit.training.loop.distributed import (
    count_processes,
    count_processes_here,
    gather_lists,
    is_main_process,
    share_from_main,
)

logger = logging.getLogger(__name__)

CHECK_NAME = "checked.json"
_SECONDS_ALONE = 3.0
"""From so many seconds on that one process would need for the rest, several share it."""
_SAMPLE = 64
_CHUNK = 32

Outcome = UsableQuestions | str | None
"""What is left out of a record, why it cannot be used, or None where it is used as it is."""


@dataclass(frozen=True)
class CheckedRecords:
    """What a check found.

    Args:
        unusable: Records that cannot be used.
        shortened: Records of which some questions are left out.
    """

    unusable: tuple[SkippedRecord, ...] = ()
    shortened: tuple[ShortenedRecord, ...] = ()

    def write(self, path: Path, identity: str) -> None:
        """Write it as JSON, under what it is true of."""
        write_text_atomically(path, json.dumps({"identity": identity, **asdict(self)}, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path, identity: str) -> CheckedRecords | None:
        """Read what ``write`` wrote; None where there is none of this identity."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["identity"] != identity:
                return None
            shortened = tuple(ShortenedRecord.of(each) for each in found["shortened"])
            return cls(tuple(SkippedRecord(**each) for each in found["unusable"]), shortened)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read (%s), so all records are checked again", path, first_line(error))
            return None


@dataclass(frozen=True)
class RecordCheck:
    """A check of the records of a run.

    Args:
        records: The records.
        processor: The model's processor.
        options: How records become examples.
        open_media: Whether pictures and clips are opened.
        with_answers: Whether conversations are trained on; otherwise records need none.
    """

    records: RecordSet
    processor: FaceKitProcessor
    options: DatasetOptions
    open_media: bool = True
    with_answers: bool = True

    @property
    def identity(self) -> str:
        """A hash of what the outcome depends on, but for the media."""
        processor, options, limit = self.processor, self.options, self.options.limit
        tokenizer = processor.tokenizer
        facts = [
            __version__, describe_records(self.records), [asdict(entry) for entry in self.records.broken],
            limit and limit.tokens, options.independent_turns, options.turns_per_example, self.open_media,
            processor.chat_template, type(tokenizer).__name__, len(tokenizer), processor.tokens_per_frame,
            processor.tokens_per_video_frame, processor.image_processor.num_frames,
            *(() if self.with_answers else ("media alone",)),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def run(
        self, path: Path, *, is_resumed: bool, on_progress: ProgressListener | None = None, workers: int | None = None
    ) -> CheckedRecords:
        """Check all records, or those that need it.

        Args:
            path: Where the outcome is remembered.
            is_resumed: Whether a checkpoint goes on, which must find what it found before. Otherwise what could not
                be used before is checked again, because it may have been repaired.
            on_progress: Called with a ``Progress``.
            workers: Processes that check; None for the cores of this process.
        """
        identity = self.identity
        known = share_from_main(CheckedRecords.read(path, identity))
        entries = self.records.entry_indices
        again = set() if known is None else {entry.index for entry in known.unusable}
        if known is not None and (is_resumed or not again):
            return known
        todo = array("q", (position for position, index in enumerate(entries) if known is None or index in again))
        rank, processes = int(os.environ.get("RANK", "0")), count_processes()
        meter = ProgressMeter(on_progress if is_main_process() else None, "check records", len(todo), "records")
        mine = todo[rank::processes]
        outcomes = _check_all(_Checks(self, mine), meter, processes, _cores() if workers is None else workers)
        faults = [(position, each) for position, each in zip(mine, outcomes, strict=True) if each is not None]
        found = gather_lists(faults)
        checked = self._collect(sorted(found, key=lambda each: each[0]), known)
        if is_main_process():
            checked.write(path, identity)
        return checked

    def check(self, position: int) -> Outcome:
        """Check a record; what is wrong with it is returned, so that it can come from another process."""
        try:
            usable = check_record(
                self.records.records[position],
                self.records.folder,
                self.processor,
                self.options,
                open_media=self.open_media,
                with_answers=self.with_answers,
            )
        except RecordError as error:
            return str(error)
        return usable if usable.left_out else None

    def _collect(
        self, found: Sequence[tuple[int, UsableQuestions | str]], known: CheckedRecords | None
    ) -> CheckedRecords:
        unusable, shortened = list(self.records.broken), [] if known is None else list(known.shortened)
        entries = self.records.entry_indices
        for position, outcome in found:
            index, name = entries[position], self.records.records[position].id
            if isinstance(outcome, str):
                unusable.append(SkippedRecord(index, name, outcome))
            else:
                shortened.append(ShortenedRecord(index, name, outcome.kept, outcome.left_out))
        unusable.sort(key=lambda entry: -1 if entry.index is None else entry.index)
        return CheckedRecords(tuple(unusable), tuple(sorted(shortened, key=lambda each: each.index)))


class _Checks(Dataset[Any]):
    """Outcomes of some records, for a data loader."""

    def __init__(self, check: RecordCheck, positions: Sequence[int]) -> None:
        self.check, self.positions = check, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Outcome:
        return self.check.check(self.positions[index])

    def after(self, count: int) -> _Checks:
        return _Checks(self.check, self.positions[count:])


def _check_all(checks: _Checks, meter: ProgressMeter, processes: int, workers: int) -> list[Outcome]:
    """Check in this process while that is quick, else in several; the order is that of the records."""
    outcomes: list[Outcome] = []
    started = time.monotonic()
    for index in range(len(checks)):
        outcomes.append(checks[index])
        spent = time.monotonic() - started
        if len(outcomes) % _SAMPLE == 0:
            if spent > 1.0:
                meter.report(len(outcomes) * processes)
            left = spent / len(outcomes) * (len(checks) - len(outcomes))
            if workers > 1 and left > _SECONDS_ALONE and sys.platform == "linux":
                break
    rest = checks.after(len(outcomes))
    if len(rest):
        # Closed here and not when somebody lets go of an error's traceback: Ctrl-C leaves no process behind.
        with closing(_load_apart(rest, workers)) as chunks:
            for chunk in chunks:
                outcomes += chunk
                meter.report(len(outcomes) * processes)
    return outcomes


def _load_apart(checks: _Checks, workers: int) -> Generator[list[Outcome], None, None]:
    loader = DataLoader(
        checks,
        batch_size=_CHUNK,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_leave_signals,
        multiprocessing_context="fork",
        # Of its own, so that nothing is drawn from the random state of the run.
        generator=torch.Generator().manual_seed(0),
    )
    with _quiet_tokenizers():
        try:
            yield from loader
        except BaseException as error:
            # The loader's frames hold its processes as long as somebody holds the error.
            traceback.clear_frames(error.__traceback__)
            raise


def _leave_signals(_: int) -> None:
    """Ctrl-C is for the process that trains, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _quiet_tokenizers() -> Iterator[None]:
    """Keep the tokenizers library from warning about threads in processes that are forked from here."""
    name = "TOKENIZERS_PARALLELISM"
    if name in os.environ:
        yield
        return
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]


def _cores() -> int:
    return max(1, count_usable_cores() // count_processes_here())
