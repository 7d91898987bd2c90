"""Sequences of records that are read where they are asked for; slices and selections of them read nothing."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self, overload

import numpy as np

from facekit.counted import counted
from facekit.data.record_facts import identity_line
from facekit.data.records import FaceRecord

__all__ = ["LazyRecords", "content_of"]


class LazyRecords(Sequence[FaceRecord]):
    """Records, or some of them, that are not in memory.

    Args:
        count: How many there are.
        chosen: Which of them are in this sequence, in its order; None for all.
    """

    def __init__(self, count: int, chosen: np.ndarray | None = None) -> None:
        self._count = count
        self._chosen = chosen

    @abstractmethod
    def _read(self, row: int) -> FaceRecord:
        """Read one of all records."""

    @abstractmethod
    def _choose(self, chosen: np.ndarray) -> Self:
        """The same records with another choice."""

    @property
    @abstractmethod
    def _all_facts(self) -> np.ndarray:
        """The facts of all records."""

    @property
    @abstractmethod
    def _whole_content(self) -> str:
        """A hash of all records."""

    @property
    def facts(self) -> np.ndarray:
        """What is known of the records without reading them; see ``facekit.data.record_facts``."""
        return self._all_facts if self._chosen is None else self._all_facts[self._chosen]

    @property
    def content(self) -> str:
        """A hash of the records, in their order."""
        if self._chosen is None:
            return self._whole_content
        chosen = np.ascontiguousarray(self._chosen, "<i8").tobytes()
        return hashlib.sha256(self._whole_content.encode() + chosen).hexdigest()

    def __len__(self) -> int:
        return self._count if self._chosen is None else len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> FaceRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> FaceRecord | Self:
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"of {counted(len(self), 'record')} none has the index {index}")
        position = int(index) % len(self)
        return self._read(position if self._chosen is None else int(self._chosen[position]))

    def __iter__(self) -> Iterator[FaceRecord]:
        return (self[position] for position in range(len(self)))

    def __add__(self, other: Sequence[FaceRecord]) -> tuple[FaceRecord, ...]:
        return (*self, *other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (LazyRecords, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equal to a tuple of the same records, which has none either

    def select(self, indices: Sequence[int]) -> Self:
        """The records at these indices, which stay where they are."""
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        outside = wanted[(wanted < -len(self)) | (wanted >= len(self))]
        if len(outside):
            raise IndexError(f"of {counted(len(self), 'record')} none has the index {outside[0]}")
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        return self._choose(wanted if self._chosen is None else self._chosen[wanted])


def content_of(records: Sequence[FaceRecord]) -> str:
    """SHA-256 of records, one JSON line each; of those that are not in memory what they say themselves."""
    if isinstance(records, LazyRecords):
        return records.content
    digest = hashlib.sha256()
    for record in records:
        digest.update(identity_line(record).encode() + b"\n")
    return digest.hexdigest()
