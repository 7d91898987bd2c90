"""Which records are near copies of which, and which of them are dropped.

A record is a copy of another where each of its pictures differs in at most ``distance`` bits from one of the other's.
Records are gone through in order, those of a test split first, then validation, then the rest, each in the order of
the sets; a record that is a copy of one that is kept is dropped. So no record that is kept is a copy of one before it,
every record that is dropped has one that is kept, and a record of training whose pictures are all in one of test is
dropped from training. A record of several pictures of which only some are copies is no copy, and stays.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from facekit.data.duplicates.hashing import hash_records, picture_hash
from facekit.data.duplicates.near_pairs import find_near_pairs
from facekit.data.merging import name_sets
from facekit.data.origins import describe_nothing, open_records
from facekit.data.sources.summary import Problems
from facekit.errors import RecordError
from facekit.reports import ProgressListener, ProgressMeter

__all__ = ["DISTANCE", "Copy", "Duplicates", "Place", "find_duplicates"]

DISTANCE = 4
"""Bits of 64 in which the hashes of near copies differ at most, by default."""

TRAINING = "train"
_ORDER = {"test": 0, "validation": 1}
_HELD_OUT = frozenset(_ORDER)


@dataclass(frozen=True)
class Place:
    """Where a record is.

    Args:
        set: The number of its set.
        row: Its number in the set, from 0.
        id: Its id.
        split: Its split; None where it has none, which counts as training.
        media: Its first picture or clip, as it names it.
    """

    set: int
    row: int
    id: str
    split: str | None
    media: str

    @property
    def part(self) -> str:
        """The split by which it is counted."""
        return self.split or TRAINING

    @property
    def is_held_out(self) -> bool:
        """Whether it is for measuring and not for training."""
        return self.split in _HELD_OUT


@dataclass(frozen=True)
class Copy:
    """A record that is a near copy of another.

    Args:
        dropped: The copy.
        kept: The record that is kept.
        distance: Bits in which their pictures differ; of several pictures the most.
    """

    dropped: Place
    kept: Place
    distance: int

    @property
    def is_leak(self) -> bool:
        """Whether one of them is for training and the other is held out, or they are in validation and in test."""
        return self.dropped.part != self.kept.part and (self.dropped.is_held_out or self.kept.is_held_out)


@dataclass
class Duplicates:
    """What was found.

    Attributes:
        sets: Names of the sets.
        distance: Bits in which copies may differ.
        records: Records of each set.
        compared: Records that have pictures and could be opened.
        copies: Every record that would be dropped, by set and row.
        unreadable: Records whose pictures cannot be opened, which are compared with nothing.
        folders: The folders that the sets' paths are relative to.
    """

    sets: tuple[str, ...]
    distance: int
    records: tuple[int, ...] = ()
    compared: int = 0
    copies: tuple[Copy, ...] = ()
    unreadable: Problems = field(default_factory=Problems)
    folders: tuple[Path, ...] = ()

    @property
    def leaks(self) -> list[Copy]:
        """The copies between training and a split that is held out."""
        return [copy for copy in self.copies if copy.is_leak]

    @property
    def between(self) -> Counter[tuple[int, int]]:
        """How many copies there are of records of each set in each set, by the numbers of the kept and the dropped."""
        return Counter((copy.kept.set, copy.dropped.set) for copy in self.copies)

    def dropped_rows(self, number: int) -> frozenset[int]:
        """The rows of a set that are dropped."""
        return frozenset(copy.dropped.row for copy in self.copies if copy.dropped.set == number)


def find_duplicates(
    origins: Sequence[str],
    *,
    distance: int = DISTANCE,
    split: str | None = None,
    workers: int | None = None,
    hasher: Callable[[Image.Image], int] = picture_hash,
    on_progress: ProgressListener | None = None,
) -> Duplicates:
    """Find the near copies among the records of one or several sets.

    Args:
        origins: What ``facekit.data.origins.open_records`` opens.
        distance: Bits of 64 in which the hashes of copies differ at most.
        split: Only the records of one split.
        workers: Threads that open pictures; None for the cores of this process.
        hasher: Gives a picture its hash.
        on_progress: Called with a ``Progress``.

    Raises:
        RecordError: A set is not as expected, or has no record.
        ConfigurationError: The distance is out of its range.
        MissingExtraError: A package is not installed.
    """
    total = sum(_count(origin, split) for origin in origins)
    places: list[Place] = []
    hashes: list[int] = []
    owners: list[int] = []
    counts: list[int] = []
    folders: list[Path] = []
    unreadable = Problems()
    meter = ProgressMeter(on_progress, "hash pictures", total, "records")
    for number, origin in enumerate(origins):
        records, folder, _ = open_records(origin, split=split)
        folders.append(folder)
        row = -1
        for row, hashed in enumerate(hash_records(records, Path(folder), workers=workers, hasher=hasher)):
            record = hashed.record
            if hashed.fault is not None:
                unreadable.add(f"{record.id}: {hashed.fault}")
            elif hashed.hashes:
                names = record.file_names()
                owners += [len(places)] * len(hashed.hashes)
                hashes += hashed.hashes
                places.append(Place(number, row, record.id, record.split, names[0] if names else ""))
            meter.report(sum(counts) + row + 1)
        counts.append(row + 1)
    copies = _drop(places, np.array(hashes, np.uint64), np.array(owners, np.int64), distance)
    return Duplicates(
        name_sets(origins), distance, tuple(counts), len(places), tuple(copies), unreadable, tuple(folders)
    )


def _count(origin: str, split: str | None) -> int:
    records, _, summary = open_records(origin, split=split)
    count = sum(1 for _ in records)
    if not count:
        raise RecordError(describe_nothing(origin, split, summary))
    return count


def _drop(places: Sequence[Place], hashes: np.ndarray, owners: np.ndarray, distance: int) -> list[Copy]:
    """The records that are dropped, each with the nearest that is kept; of equally near ones the first."""
    first, second, apart = find_near_pairs(hashes, distance)
    near: dict[int, dict[int, int]] = defaultdict(
        dict
    )  # hashes near each, among those that are the first of equal ones
    heads = np.arange(len(hashes))
    heads[second[apart == 0]] = first[apart == 0]
    for one, other, bits in zip(*(each[apart > 0].tolist() for each in (first, second, apart)), strict=True):
        near[one][other] = near[other][one] = bits
    edges = np.searchsorted(owners, np.arange(len(places) + 1))
    holders: dict[int, list[int]] = defaultdict(list)  # kept records by the first of the hashes that equal theirs
    copies = []
    for position in sorted(range(len(places)), key=lambda each: (_ORDER.get(places[each].part, 2), each)):
        found: dict[int, int] | None = None
        own = heads[edges[position] : edges[position + 1]].tolist()
        for head in own:
            here = _near_kept(head, near, holders)
            found = here if found is None else {
                kept: max(found[kept], bits) for kept, bits in here.items() if kept in found
            }  # fmt: skip
        if found:
            kept = min(found, key=lambda each: (found[each], each))
            copies.append(Copy(places[position], places[kept], found[kept]))
        else:
            for head in own:
                holders[head].append(position)
    return sorted(copies, key=lambda copy: (copy.dropped.set, copy.dropped.row))


def _near_kept(head: int, near: dict[int, dict[int, int]], holders: dict[int, list[int]]) -> dict[int, int]:
    """The kept records with a picture near a hash, and the bits in which it differs."""
    found: dict[int, int] = {}
    for other, bits in ((head, 0), *near.get(head, {}).items()):
        for kept in holders.get(other, ()):
            found[kept] = min(bits, found.get(kept, bits))
    return found
