"""Corrupt records in a data set: the next usable record takes the place of one that cannot be used.

``facekit.data.skipping`` keeps the list of those that were skipped, up to a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from facekit.data.dataset import FaceDataset, FaceExample
from facekit.data.skipping import SkippedRecords
from facekit.errors import ImageError, RecordError

SKIPPED_NAME = "skipped.jsonl"

_T = TypeVar("_T")


class SkippingDataset(FaceDataset):
    """A data set in which the next usable record takes the place of one that is not.

    Which one that is depends on the records alone, so a resumed run sees what the whole one would have. The list is a
    file because the processes that load the data share it.

    Args:
        *given: See ``FaceDataset``.
        log_path: Where skipped records are listed.
        limit: Largest share of the records that may be skipped; 0 for none.
        **options: See ``FaceDataset``.

    Attributes:
        skipped: The records that were skipped.
    """

    def __init__(self, *given: Any, log_path: Path, limit: float, **options: Any) -> None:
        super().__init__(*given, **options)
        self.skipped = SkippedRecords(log_path, len(self), limit)

    @property
    def record_ids(self) -> Sequence[str]:
        """Ids of the records, by index."""
        return [record.id for record in self.records.records]

    def __getitem__(self, index: int) -> FaceExample:
        """Return one example, of the next usable record; raises ``RecordError`` beyond the limit."""
        return self._first_usable(index, super().__getitem__)

    def pixel_values(self, index: int) -> Tensor:
        """The pixels ``(T, 3, H, W)`` of one record, or of the next usable one."""
        return self._first_usable(index, super().pixel_values)

    def media_pixels(self, index: int) -> list[Tensor]:
        """The pixels of each of a record's media, or of those of the next usable one."""
        return self._first_usable(index, super().media_pixels)

    def _first_usable(self, index: int, read: Callable[[int], _T]) -> _T:
        for candidate in chain(range(index, len(self)), range(index)):
            if candidate in self.skipped:
                continue
            try:
                return read(candidate)
            except (RecordError, ImageError, OSError) as error:
                self.skipped.add(candidate, self.records.records[candidate].id, error)
        raise RecordError(f"not one of {len(self)} records can be used; {self.skipped.path} lists why")
