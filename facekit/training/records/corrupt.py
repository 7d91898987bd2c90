"""Corrupt records in a data set: left out before the first step, and replaced where they turn up later.

``facekit.data.skipping`` keeps the list of those that were skipped, up to a limit.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, overload

from torch import Tensor

from facekit.counted import counted
from facekit.data.dataset import FaceDataset, FaceExample
from facekit.data.records import FaceRecord
from facekit.data.shortened import SHORTENED_NAME, ShortenedRecords
from facekit.data.skipping import SkippedRecords
from facekit.errors import ImageError, RecordError
from facekit.reports import ProgressListener
from facekit.training.loop.distributed import is_main_process
from facekit.training.records.checking import CHECK_NAME, CheckedRecords, RecordCheck

SKIPPED_NAME = "skipped.jsonl"

_T = TypeVar("_T")


class RecordIds(Sequence[str]):
    """Ids of records by index, each read when it is asked for.

    Args:
        records: The records.
    """

    def __init__(self, records: Sequence[FaceRecord]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [record.id for record in self._records[index]]
        return self._records[index].id


class SkippingDataset(FaceDataset):
    """A data set of the records that can be used.

    ``check`` finds them before the first step. A record whose file is lost later is replaced by the next usable one:
    which one that is depends on the records alone, so a resumed run sees what the whole one would have. The list is a
    file because the processes that load the data share it.

    Args:
        *given: See ``FaceDataset``; records may have no conversation, which the check finds.
        log_path: Where skipped records are listed.
        limit: Largest share of the records that may be skipped; 0 for none.
        **options: See ``FaceDataset``.

    Attributes:
        skipped: The records that were skipped, by their index among all entries of the records file.
        shortened: The list of records of which some questions are left out.
        checked: What the check found.
    """

    def __init__(self, *given: Any, log_path: Path, limit: float, **options: Any) -> None:
        super().__init__(*given, **options)
        self.skipped = SkippedRecords(log_path, len(self) + len(self.records.broken), limit)
        self.shortened = ShortenedRecords(log_path.with_name(SHORTENED_NAME))
        self.checked: CheckedRecords | None = None
        self._entries: Sequence[int] = self.records.entry_indices
        self._kept_of: dict[int, tuple[int, ...]] = {}

    def check(
        self,
        *,
        is_resumed: bool = False,
        open_media: bool = True,
        with_answers: bool = True,
        on_progress: ProgressListener | None = None,
        workers: int | None = None,
    ) -> None:
        """Check all records and leave out those that cannot be used; examples are counted anew from 0.

        Args:
            is_resumed: Whether a checkpoint goes on, which must find what it found before.
            open_media: Whether pictures and clips are opened.
            with_answers: Whether conversations are trained on; otherwise records need none.
            on_progress: Called with a ``Progress``.
            workers: Processes that check; None for the cores of this process.

        Raises:
            RecordError: More records than the limit allows cannot be used, or not one can; all are listed.
        """
        assert self.skipped.path is not None
        path = self.skipped.path.with_name(CHECK_NAME)
        check = RecordCheck(self.records, self.processor, self.options, open_media, with_answers)
        self.checked = check.run(path, is_resumed=is_resumed, on_progress=on_progress, workers=workers)
        self.skipped.add_all(self.checked.unusable, write=is_main_process())
        if is_main_process():
            self.shortened.replace(self.checked.shortened)
        self._keep_only({entry.index for entry in self.checked.unusable})
        self._kept_of = {bisect_left(self._entries, each.index): each.kept for each in self.checked.shortened}

    def kept_questions(self, index: int, frames: int) -> Sequence[int] | None:
        """Indices of the questions of a record that are trained on; None for all."""
        if self.checked is None:
            return super().kept_questions(index, frames)
        return self._kept_of.get(index)

    @property
    def record_ids(self) -> Sequence[str]:
        """Ids of the records, by index."""
        return RecordIds(self.records.records)

    def __getitem__(self, index: int) -> FaceExample:
        """Return one example, of the next usable record; raises ``RecordError`` beyond the limit."""
        return self._first_usable(index, super().__getitem__)

    def pixel_values(self, index: int) -> Tensor:
        """The pixels ``(T, 3, H, W)`` of one record, or of the next usable one."""
        return self._first_usable(index, super().pixel_values)

    def media_pixels(self, index: int) -> list[Tensor]:
        """The pixels of each of a record's media, or of those of the next usable one."""
        return self._first_usable(index, super().media_pixels)

    def _require_conversations(self) -> None:
        """Nothing: the check names all records without one."""

    def _keep_only(self, unusable: set[int | None]) -> None:
        chosen = array("q", (index for index, entry in enumerate(self._entries) if entry not in unusable))
        if not chosen:
            raise RecordError(
                f"not one of {counted(self.skipped.total, 'record')} can be used; {self.skipped.path} lists why"
            )
        if len(chosen) < len(self.records):
            self.records = self.records.select(chosen)
            self._entries = array("q", (self._entries[index] for index in chosen))

    def _first_usable(self, index: int, read: Callable[[int], _T]) -> _T:
        for candidate in chain(range(index, len(self)), range(index)):
            if self._entries[candidate] in self.skipped:
                continue
            try:
                return read(candidate)
            except (RecordError, ImageError, OSError) as error:
                self.skipped.add(self._entries[candidate], self.records.records[candidate].id, error)
        raise RecordError(f"not one of {counted(len(self), 'record')} can be used; {self.skipped.path} lists why")
