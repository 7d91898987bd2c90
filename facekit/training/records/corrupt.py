"""Records that cannot be used, found in the middle of a run: skipped, counted and listed, up to a limit.

One truncated picture among a million must not end a run of days, and a mistyped folder must not train on nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from facekit.data.dataset import FaceDataset, FaceExample
from facekit.errors import ImageError, RecordError

logger = logging.getLogger(__name__)

SKIPPED_NAME = "skipped.jsonl"

_T = TypeVar("_T")


class SkippingDataset(FaceDataset):
    """A data set in which the next usable record takes the place of one that is not.

    Which one that is depends on the records alone, so a resumed run sees what the whole one would have. The list is a
    file because the processes that load the data share it.

    Args:
        *given: See ``FaceDataset``.
        log_path: Where skipped records are listed, a JSON line with ``index``, ``id`` and ``reason`` each.
        limit: Largest share of the records that may be skipped; 0 for none.
        **options: See ``FaceDataset``.
    """

    def __init__(self, *given: Any, log_path: Path, limit: float, **options: Any) -> None:
        super().__init__(*given, **options)
        self.log_path = log_path
        self.limit = limit
        self._skipped = set(self._read_log())

    @property
    def skipped(self) -> dict[int, str]:
        """Why each record was skipped, by index, as far as any process has come."""
        return self._read_log()

    @property
    def record_ids(self) -> Sequence[str]:
        """Ids of the records, by index."""
        return [record.id for record in self.records.records]

    def forget_skipped(self) -> None:
        """Begin a new list, where a run starts anew in the folder of an earlier one."""
        self.log_path.unlink(missing_ok=True)
        self._skipped.clear()

    def __getitem__(self, index: int) -> FaceExample:
        """Return one example, of the next usable record; raises ``RecordError`` beyond the limit."""
        return self._first_usable(index, super().__getitem__)

    def pixel_values(self, index: int) -> Tensor:
        """The pixels ``(T, 3, H, W)`` of one record, or of the next usable one."""
        return self._first_usable(index, super().pixel_values)

    def _first_usable(self, index: int, read: Callable[[int], _T]) -> _T:
        for place in chain(range(index, len(self)), range(index)):
            if place in self._skipped:
                continue
            try:
                return read(place)
            except (RecordError, ImageError, OSError) as error:
                self._skip(place, error)
        raise RecordError(f"not one of {len(self)} records can be used; {self.log_path} lists why")

    def _skip(self, index: int, error: Exception) -> None:
        record_id = self.records.records[index].id
        self._skipped |= {*self._read_log(), index}
        if len(self._skipped) > self.limit * len(self):
            raise RecordError(
                f"{len(self._skipped)} of {len(self)} records cannot be used, more than skip_limit={self.limit:g} "
                f"allows; the last is {record_id!r}: {error}"
            ) from error
        logger.warning("record %r is skipped: %s", record_id, error)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"index": index, "id": record_id, "reason": str(error)})
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _read_log(self) -> dict[int, str]:
        if not self.log_path.is_file():
            return {}
        try:
            entries = [json.loads(line) for line in self.log_path.read_text(encoding="utf-8").splitlines()]
            return {int(entry["index"]): str(entry["reason"]) for entry in entries}
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self.log_path} is damaged ({error}); remove it to try all records again") from error
