"""Records of several sets as one sequence, read where they are asked for, with paths and ids that stay right."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from facekit.counted import counted
from facekit.data.lazy_records import LazyRecords, content_of
from facekit.data.moved_paths import path_mover
from facekit.data.record_facts import facts_of, hash_id
from facekit.data.records import FaceRecord

__all__ = ["JoinedRecords", "RecordPart"]


@dataclass(frozen=True)
class RecordPart:
    """Records of one set.

    Args:
        records: The records.
        folder: The folder that their paths are relative to.
        name: What stands before an id that an earlier set has.
    """

    records: Sequence[FaceRecord]
    folder: Path
    name: str


class JoinedRecords(LazyRecords):
    """The records of several sets, one set after the other.

    Ids are compared by 64 bits of their hash. Those that an earlier set has get the name of their set before them.

    Args:
        parts: The sets.
        folder: The folder that paths become relative to.
        chosen: Which records are in this sequence, in its order; None for all.
    """

    def __init__(self, parts: Sequence[RecordPart], folder: Path, chosen: np.ndarray | None = None) -> None:
        self.parts = tuple(parts)
        self.folder = folder
        self._ends = np.cumsum([len(part.records) for part in self.parts])
        self._movers = [None if part.folder == folder else path_mover(part.folder, folder) for part in self.parts]
        self._facts, self._renamed = _join_facts(self.parts)
        super().__init__(int(self._ends[-1]), chosen)

    def __reduce__(self) -> tuple[type[JoinedRecords], tuple[object, ...]]:
        return JoinedRecords, (self.parts, self.folder, self._chosen)

    def __repr__(self) -> str:
        return f"JoinedRecords({', '.join(part.name for part in self.parts)}: {counted(len(self), 'record')})"

    @property
    def _all_facts(self) -> np.ndarray:
        return self._facts

    @property
    def _whole_content(self) -> str:
        digest = hashlib.sha256()
        for part, mover in zip(self.parts, self._movers, strict=True):
            moved = "" if mover is None else mover("")
            digest.update(f"{part.name}\n{moved}\n{content_of(part.records)}\n".encode())
        return digest.hexdigest()

    def _choose(self, chosen: np.ndarray) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _chosen=chosen)
        return other

    def _read(self, row: int) -> FaceRecord:
        number = int(np.searchsorted(self._ends, row, side="right"))
        part, mover = self.parts[number], self._movers[number]
        record = part.records[row - int(self._ends[number]) + len(part.records)]
        if mover is not None:
            record = record.with_paths(mover)
        return record.model_copy(update={"id": f"{part.name}/{record.id}"}) if self._renamed[row] else record


def _join_facts(parts: Sequence[RecordPart]) -> tuple[np.ndarray, np.ndarray]:
    """The facts of all records, and whether each needs the name of its set before its id."""
    joined, renamed = [], []
    seen = np.empty(0, np.uint64)
    for part in parts:
        facts = facts_of(part.records)
        repeated = np.isin(facts["id"], seen)
        if repeated.any():
            facts = facts.copy()
            facts["id"][repeated] ^= np.uint64(hash_id(part.name))
        seen = np.union1d(seen, facts["id"])
        joined.append(facts)
        renamed.append(repeated)
    return np.concatenate(joined), np.concatenate(renamed)
