"""Which records are near copies of which, and which of them are dropped.

A record is a copy of another where each of its pictures differs in at most ``distance`` bits from one of the other's,
and the other has all its questions and is labelled for all that it is labelled for. Records are gone through in order,
those of a test split first, then validation, then the rest, each in the order of the sets; a record that is a copy of
one that is kept is dropped. So no record that is kept is a copy of one before it, and every copy that is dropped has
one that is kept.

Leaks are found by themselves: any picture near one of a split that is held out, whether that record is kept or not, and
whatever else is near. They are dropped, too, so that a picture that is in test and in training stays in test alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from facekit.counted import counted
from facekit.data.duplicates.hashing import hash_records, picture_hash
from facekit.data.duplicates.near_pairs import check_distance, find_near_pairs
from facekit.data.duplicates.teaching import what_is_taught
from facekit.data.merging import name_sets
from facekit.data.origins import describe_nothing, open_records
from facekit.data.sources.columns import split_in_name, split_name
from facekit.data.sources.summary import Problems
from facekit.errors import RecordError
from facekit.reports import ProgressListener, ProgressMeter

__all__ = ["DISTANCE", "Copy", "Duplicates", "Place", "find_duplicates"]

DISTANCE = 4
"""Bits of 64 in which the hashes of near copies differ at most, by default."""

TRAINING = "train"
_ORDER = {"test": 0, "validation": 1}
_HELD_OUT = frozenset(_ORDER)
_RECORDS = "records"
_ANYTHING = -1
"""In place of the number of something that is taught."""


@dataclass(frozen=True)
class Place:
    """Where a record is.

    Args:
        set: The number of its set.
        row: Its number in the set, from 0.
        id: Its id.
        split: Its split, or that of the file's name; None where neither says one, which counts as training.
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
        copies: Every record that is a copy of one that is kept, by set and row.
        leaks: Every record that has a picture near one of a split that is held out and comes before its own, by set and
            row: of training near validation or test, of validation near test. ``kept`` is the nearest record there, and
            ``distance`` the bits of that pair of pictures.
        kept_beside: Records whose pictures are near those of one that is kept, and that are kept, too, because they ask
            or label something else.
        unreadable: Records whose pictures cannot be opened, which are compared with nothing.
        folders: The folders that the sets' paths are relative to.
        splits: The splits that there are.
    """

    sets: tuple[str, ...]
    distance: int
    records: tuple[int, ...] = ()
    compared: int = 0
    copies: tuple[Copy, ...] = ()
    leaks: tuple[Copy, ...] = ()
    kept_beside: int = 0
    unreadable: Problems = field(default_factory=Problems)
    folders: tuple[Path, ...] = ()
    splits: frozenset[str] = frozenset()

    @property
    def between(self) -> Counter[tuple[int, int]]:
        """How many copies there are of records of each set in each set, by the numbers of the kept and the dropped."""
        return Counter((copy.kept.set, copy.dropped.set) for copy in self.copies)

    def dropped_rows(self, number: int) -> frozenset[int]:
        """The rows of a set that are dropped."""
        return frozenset(copy.dropped.row for copy in (*self.copies, *self.leaks) if copy.dropped.set == number)


def find_duplicates(
    origins: Sequence[str],
    *,
    distance: int = DISTANCE,
    split: str | None = None,
    check_images: bool = False,
    workers: int | None = None,
    hasher: Callable[[Image.Image], int] = picture_hash,
    on_progress: ProgressListener | None = None,
) -> Duplicates:
    """Find the near copies among the records of one or several sets.

    Args:
        origins: What ``facekit.data.origins.open_records`` opens.
        distance: Bits of 64 in which the hashes of copies differ at most.
        split: Only the records of one split.
        check_images: For datasets, leave out pictures that cannot be opened; they have no rows then.
        workers: Threads that open pictures; None for the cores of this process.
        hasher: Gives a picture its hash.
        on_progress: Called with a ``Progress``.

    Raises:
        RecordError: A set is not as expected, or has no record.
        ConfigurationError: The distance is out of its range.
        MissingExtraError: A package is not installed.
    """
    check_distance(distance)
    total = sum(_count(origin, split, check_images=check_images) for origin in origins)
    places: list[Place] = []
    hashes: list[int] = []
    owners: list[int] = []
    taught: list[tuple[int, ...]] = []
    counts: list[int] = []
    folders: list[Path] = []
    unreadable = Problems()
    meter = ProgressMeter(on_progress, "hash pictures", total, "records")
    for number, origin in enumerate(origins):
        records, folder, _ = open_records(origin, split=split, check_images=check_images)
        folders.append(folder)
        named, row = _split_of(origin), -1
        for row, hashed in enumerate(hash_records(records, Path(folder), workers=workers, hasher=hasher)):
            record = hashed.record
            if hashed.fault is not None:
                unreadable.add(f"{record.id}: {hashed.fault}")
            elif hashed.hashes:
                names = record.file_names()
                owners += [len(places)] * len(hashed.hashes)
                hashes += hashed.hashes
                taught.append(what_is_taught(record))
                split_here = split_name(record.split) or named
                places.append(Place(number, row, record.id, split_here, names[0] if names else ""))
            meter.report(sum(counts) + row + 1)
        counts.append(row + 1)
    if not places and unreadable.count:
        raise RecordError(
            f"none of {counted(sum(counts), 'record')} has a picture that opens, such as {unreadable.examples[0]}"
        )
    copies, leaks, kept_beside = _compare(
        places, np.array(hashes, np.uint64), np.array(owners, np.int64), taught, distance
    )
    return Duplicates(
        name_sets(origins),
        distance,
        tuple(counts),
        len(places),
        tuple(copies),
        tuple(leaks),
        kept_beside,
        unreadable,
        tuple(folders),
        frozenset(place.split for place in places if place.split),
    )


def _split_of(origin: str) -> str | None:
    """The split that a set's file is named after, ``test.jsonl`` or ``test/records.jsonl``."""
    path = Path(origin.partition("?")[0].rpartition(":")[2]).absolute()
    return split_in_name(path.stem) or (split_in_name(path.parent.name) if path.stem == _RECORDS else None)


def _count(origin: str, split: str | None, *, check_images: bool) -> int:
    records, _, summary = open_records(origin, split=split, check_images=check_images)
    count = sum(1 for _ in records)
    if not count:
        raise RecordError(describe_nothing(origin, split, summary))
    return count


Near = dict[int, dict[int, int]]
"""Of a hash, the first of those that equal it, to those near it and the bits in which they differ."""


def _compare(
    places: Sequence[Place],
    hashes: np.ndarray,
    owners: np.ndarray,
    taught: Sequence[tuple[int, ...]],
    distance: int,
) -> tuple[list[Copy], list[Copy], int]:
    """Copies, leaks, and how many records are kept beside near ones for what else they teach."""
    first, second, apart = find_near_pairs(hashes, distance)
    near: Near = defaultdict(dict)
    heads = np.arange(len(hashes))
    heads[second[apart == 0]] = first[apart == 0]
    for one, other, bits in zip(*(each[apart > 0].tolist() for each in (first, second, apart)), strict=True):
        near[one][other] = near[other][one] = bits
    edges = np.searchsorted(owners, np.arange(len(places) + 1)).tolist()
    own = [heads[start:end].tolist() for start, end in pairwise(edges)]
    copies, kept_beside = _drop(places, own, near, taught)
    return copies, _find_leaks(places, own, near), kept_beside


def _drop(
    places: Sequence[Place], own: Sequence[Sequence[int]], near: Near, taught: Sequence[tuple[int, ...]]
) -> tuple[list[Copy], int]:
    """The records that are dropped, each with the nearest that is kept; of equally near ones the first."""
    kept_records = _KeptRecords(near)
    copies, kept_beside = [], 0
    for position in sorted(range(len(places)), key=lambda each: (_ORDER.get(places[each].part, 2), each)):
        mine, heads = taught[position], own[position]
        found = {
            kept: bits
            for kept, bits in kept_records.near(heads, kept_records.rarest(heads, mine)).items()
            if all(each in taught[kept] for each in mine)
        }
        if found:
            kept = min(found, key=lambda each: (found[each], each))
            copies.append(Copy(places[position], places[kept], found[kept]))
        else:
            kept_beside += bool(kept_records.near(heads, _ANYTHING))
            kept_records.add(position, heads, mine)
    return _in_order(copies), kept_beside


class _KeptRecords:
    """Records that are kept, by the first of the hashes that equal theirs and by each thing that they teach."""

    def __init__(self, near: Near) -> None:
        self._near = near
        self._holders: dict[tuple[int, int], list[int]] = defaultdict(list)
        self._held: set[int] = set()

    def add(self, position: int, heads: Sequence[int], taught: Sequence[int]) -> None:
        for head in set(heads):
            for thing in taught:
                self._holders[head, thing].append(position)
            # Of those with one picture the first stands for all: there may be thousands that ask about it.
            if len(heads) > 1 or head not in self._held:
                self._holders[head, _ANYTHING].append(position)
        if len(heads) == 1:
            self._held.update(heads)

    def rarest(self, heads: Sequence[int], taught: Sequence[int]) -> int:
        """What is taught by the fewest about the first of the pictures; anything, of a record that teaches nothing."""
        return min(taught, key=lambda thing: len(self._holders.get((heads[0], thing), ())), default=_ANYTHING)

    def near(self, heads: Sequence[int], thing: int) -> dict[int, int]:
        """The records that teach a thing and have a picture near each of the hashes, and the most bits between them."""
        found: dict[int, int] | None = None
        for head in heads:
            here = self._near_one(head, thing)
            found = here if found is None else {
                kept: max(found[kept], bits) for kept, bits in here.items() if kept in found
            }  # fmt: skip
        return found or {}

    def _near_one(self, head: int, thing: int) -> dict[int, int]:
        found: dict[int, int] = {}
        for other, bits in ((head, 0), *self._near.get(head, {}).items()):
            for kept in self._holders.get((other, thing), ()):
                found[kept] = min(bits, found.get(kept, bits))
        return found


def _find_leaks(places: Sequence[Place], own: Sequence[Sequence[int]], near: Near) -> list[Copy]:
    """The records with a picture near one that is held out, each with the nearest; of equally near ones one of test."""
    holders: dict[int, dict[int, int]] = defaultdict(dict)  # hashes to the first record of each split that is held out
    for position, place in enumerate(places):
        if place.is_held_out:
            for head in own[position]:
                holders[head].setdefault(_ORDER[place.part], position)
    leaks = []
    for place, mine in zip(places, own, strict=True):
        rank = _ORDER.get(place.part, 2)
        found = [
            (bits, theirs, held)
            for head in mine
            for other, bits in ((head, 0), *near.get(head, {}).items())
            for theirs, held in holders.get(other, {}).items()
            if theirs < rank
        ]
        if found:
            bits, _, held = min(found)
            leaks.append(Copy(place, places[held], bits))
    return _in_order(leaks)


def _in_order(copies: list[Copy]) -> list[Copy]:
    return sorted(copies, key=lambda copy: (copy.dropped.set, copy.dropped.row))
