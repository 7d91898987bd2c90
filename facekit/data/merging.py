"""Several sets of records merged into one: shares by weight, ids kept unique, sources kept, repeated media named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facekit.counted import counted
from facekit.data.copied_media import CopiedMedia
from facekit.data.mixture import divide
from facekit.data.moved_paths import path_mover
from facekit.data.origins import describe_nothing, open_records
from facekit.data.records import FaceRecord
from facekit.data.sources import SourceSummary
from facekit.data.sources.summary import Problems
from facekit.errors import ConfigurationError, RecordError
from facekit.remote.addresses import is_mirrored, place_of, share_file_system
from facekit.spec import PartSpec

__all__ = ["MergedSet", "Merger", "name_sets"]


@dataclass
class MergedSet:
    """What a merge took of a set.

    Attributes:
        name: The set's name: of its file or folder, or the dataset's.
        records: Records that it has.
        taken: Records that were taken of it.
        renamed: Ids that an earlier set has, to which the set's name was added.
        repeated: Records about a file that an earlier record is about.
        dropped: Records that are near copies of others, where these are dropped.
        summary: The report on a dataset in its own layout.
    """

    name: str
    records: int = 0
    taken: int = 0
    renamed: Problems = field(default_factory=Problems)
    repeated: Problems = field(default_factory=Problems)
    dropped: Problems = field(default_factory=Problems)
    summary: SourceSummary | None = None

    def __str__(self) -> str:
        """One line for a terminal."""
        told = f"{self.name}: {self.taken:,} of {counted(self.records, 'record')}"
        kinds = (
            (self.renamed, "renamed, their ids were taken"), (self.repeated, "repeat a picture"),
            (self.dropped, "dropped as near copies"),
        )  # fmt: skip
        for problems, verb in kinds:
            if problems.count:
                named = ", ".join(problems.examples)
                told += (
                    f"; {problems.count:,} {verb}: {named}{', …' if problems.count > len(problems.examples) else ''}"
                )
        return told


class Merger:
    """A merge of several sets.

    Without weights all records are taken. With weights as many as the sets have for these shares: of the set that is
    short all, of the others a part drawn by the seed; the shares are exact but for less than one record each. Records
    keep their order and their ``source``; one without a source gets the name of its set.

    Args:
        origins: What ``facekit.data.origins.open_records`` opens.
        weights: One for each set; None to take all.
        split: Only the records of one split.
        check_images: For datasets, leave out pictures that cannot be opened.
        seed: Decides which records are taken.
        dropped: Rows of each set that are left out, from 0, such as near copies.
        overwrite: Whether media that are copied may replace others.

    Attributes:
        sets: What was taken of each set, complete once ``records`` is exhausted.

    Raises:
        ConfigurationError: The weights do not fit.
    """

    def __init__(
        self,
        origins: Sequence[str],
        weights: Sequence[float] | None = None,
        *,
        split: str | None = None,
        check_images: bool = False,
        seed: int = 0,
        dropped: Sequence[frozenset[int]] = (),
        overwrite: bool = False,
    ) -> None:
        if weights is not None and (len(weights) != len(origins) or not all(0 < each < np.inf for each in weights)):
            raise ConfigurationError(
                f"there are {len(origins)} sets and the weights {', '.join(f'{each:g}' for each in weights)}; give "
                "each set a number above 0"
            )
        self.origins = tuple(origins)
        self.weights = weights
        self.seed = seed
        self.overwrite = overwrite
        self._split, self._check_images = split, check_images
        self.dropped = tuple(dropped) or (frozenset(),) * len(self.origins)
        self.sets = [MergedSet(name) for name in name_sets(origins)]

    def records(self, target: Path, *, copy: bool) -> Iterator[FaceRecord]:
        """The merged records.

        Args:
            target: The folder that their paths are relative to.
            copy: Whether media on another file system than ``target`` are copied into it, to a folder of their set.

        Raises:
            RecordError: A set is not as expected, or has no record.
        """
        chosen = self._choose()
        ids: set[str] = set()
        media: set[str] = set()
        self.copied: list[CopiedMedia] = []
        for origin, part, wanted, dropped in zip(self.origins, self.sets, chosen, self.dropped, strict=True):
            found, folder, part.summary = self._open(origin)
            taken = self._take(found, part, wanted, dropped)
            named = (self._named(record, part, folder, ids, media) for record in taken)
            if copy and not share_file_system(folder, target):
                copied = CopiedMedia(folder, target, under=part.name, overwrite=self.overwrite)
                self.copied.append(copied)
                yield from copied.along(named)
            else:
                move = path_mover(folder, target)
                yield from (record.with_paths(move) for record in named)
            if not part.records:
                raise RecordError(describe_nothing(origin, self._split, part.summary))

    def _open(self, origin: str) -> tuple[Iterator[FaceRecord], Path, SourceSummary | None]:
        return open_records(origin, split=self._split, check_images=self._check_images)

    def _choose(self) -> list[np.ndarray | None]:
        """Which records of each set are taken, a truth value for each; None for all."""
        if self.weights is None:
            return [None] * len(self.origins)
        sizes = []
        for origin, dropped in zip(self.origins, self.dropped, strict=True):
            found, _, summary = self._open(origin)
            sizes.append(sum(1 for _ in found) - len(dropped))
            if not sizes[-1]:
                raise RecordError(describe_nothing(origin, self._split, summary))
        total = sum(self.weights)
        most = int(min(size * total / weight for size, weight in zip(sizes, self.weights, strict=True)) + 1e-6)
        while any(part > size for part, size in zip(divide(most, self.weights), sizes, strict=True)):
            most -= 1
        chosen: list[np.ndarray | None] = []
        for index, (size, count) in enumerate(zip(sizes, divide(most, self.weights), strict=True)):
            mask = np.zeros(size, dtype=bool)
            mask[np.random.default_rng((self.seed, index)).permutation(size)[:count]] = True
            chosen.append(mask)
        return chosen

    def _take(
        self, records: Iterator[FaceRecord], part: MergedSet, wanted: np.ndarray | None, dropped: frozenset[int]
    ) -> Iterator[FaceRecord]:
        index = -1
        for row, record in enumerate(records):
            part.records += 1
            if row in dropped:
                part.dropped.add(record.id)
                continue
            index += 1
            if wanted is None or (index < len(wanted) and wanted[index]):
                part.taken += 1
                yield record

    def _named(self, record: FaceRecord, part: MergedSet, folder: Path, ids: set[str], media: set[str]) -> FaceRecord:
        files = {os.path.normpath(place_of(folder, name)) for name in _media_of(record)}
        if files and files <= media:
            part.repeated.add(record.id)
        media |= files
        changes: dict[str, object] = {}
        if record.source is None:
            changes["source"] = {"dataset": part.name}
        if record.id in ids:
            part.renamed.add(record.id)
            changes["id"] = _free(f"{part.name}/{record.id}", ids)
        ids.add(str(changes.get("id", record.id)))
        return record.model_copy(update=changes) if changes else record


def name_sets(origins: Sequence[str]) -> tuple[str, ...]:
    """What sets are called: by file, folder or dataset, and a number where two would be called the same."""
    names: list[str] = []
    for origin in origins:
        names.append(_free(_name(origin), set(names)))
    return tuple(names)


def _media_of(record: FaceRecord) -> list[str]:
    names = record.image or record.images or record.video or []
    # Frames of one video file are other media each.
    return [f"{names}#{record.frames}" if record.frames else names] if isinstance(names, str) else list(names)


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _name(origin: str) -> str:
    path = Path(origin).expanduser()
    if is_mirrored(path) or path.exists() or "://" in origin:
        # What stands for a folder, such as "..", is no name of one: media are copied into folders of these names.
        path = path if "://" in origin else Path(os.path.abspath(path))  # noqa: PTH100 - links stay
        return path.parent.name if path.stem in ("records", "manifest") and path.parent.name else path.stem
    return PartSpec.parse(origin).name
