"""Reading several record files, each with a weight, as the record set of one run; see ``facekit.data.mixture``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facekit.data.dataset import RecordSet
from facekit.data.joined_records import JoinedRecords, RecordPart
from facekit.data.lazy_records import LazyRecords
from facekit.data.lenient import read_leniently
from facekit.data.mixture import Mixture, SourceShare, divide
from facekit.data.records import FaceRecord
from facekit.data.shard_index import are_shards, count_samples
from facekit.errors import ConfigurationError
from facekit.remote.mirror import local_copy


@dataclass(frozen=True)
class DataSource:
    """Records of a run, and their weight beside the others.

    Args:
        records: The records, or a file of them.
        weight: Share of an epoch's examples, relative to the other weights; None where no source has one, and every
            record is seen once.
        name: What reports call it; by default the file's name.

    Raises:
        ConfigurationError: The weight is not above 0.
    """

    records: RecordSet | str | Path
    weight: float | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 < self.weight < float("inf"):
            raise ConfigurationError(f"a weight is a number above 0, not {self.weight}; leave out what shall not occur")


@dataclass(frozen=True)
class ShardSources:
    """Several sets of shards, which are read as a run goes on.

    Args:
        names: Their names, each once.
        paths: Their folders, or single shards.
        weights: Their weights; None where every sample is seen once.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    weights: tuple[float, ...] | None = None

    def shares(self) -> list[SourceShare]:
        """What each gives an epoch."""
        sizes = [sum(count_samples(path).values()) for path in self.paths]
        quotas = divide(sum(sizes), self.weights or sizes)
        return [
            SourceShare(name, size, quota, quota / sum(sizes))
            for name, size, quota in zip(self.names, sizes, quotas, strict=True)
        ]


def mix_records(sources: Sequence[DataSource]) -> RecordSet:
    """Read record files as one record set that knows what each gives an epoch.

    Of large files the records stay in them. Paths become relative to the folder of the first; an id that an earlier
    source has gets the source's name before it.

    Args:
        sources: The files with their weights.

    Raises:
        RecordError: A file cannot be read.
        ConfigurationError: There is none, or only some have a weight.
    """
    if not sources:
        raise ConfigurationError("there are no records to mix; name at least one file")
    given, names = _weights(sources), _names(sources)
    sets = [_read(source.records) for source in sources]
    folder = sets[0].folder
    parts = [RecordPart(each.records, each.folder, name) for name, each in zip(names, sets, strict=True)]
    broken = []
    entries = 0
    for each in sets:
        broken += [
            replace(entry, index=None if entry.index is None else entry.index + entries) for entry in each.broken
        ]
        entries += len(each.records) + len(each.broken)
    origins = np.repeat(np.arange(len(sets)), [len(each) for each in sets]).tolist()
    mixture = Mixture(names, tuple(origins), given)
    records: Sequence[FaceRecord] = JoinedRecords(parts, folder)
    if not any(isinstance(each.records, LazyRecords) for each in sets):
        records = tuple(records)
    return RecordSet(records, folder, tuple(broken), mixture)


def join_sources(
    records: RecordSet | str | Path | ShardSources | Sequence[DataSource],
) -> RecordSet | Path | ShardSources:
    """Return what a run is trained on: several sources as one, a record set or path as it is.

    Raises:
        RecordError: A file cannot be read.
        ConfigurationError: Of several sources some are shards and others are not; or see ``mix_records``.
    """
    if isinstance(records, (RecordSet, ShardSources)):
        return records
    if isinstance(records, (str, Path)):
        return Path(records)
    foreign = next((source for source in records if not isinstance(source, DataSource)), None)
    if foreign is not None:
        raise ConfigurationError(
            f"several sets are a list of DataSource, not of {type(foreign).__name__}; records of your own go in as "
            "RecordSet(records, folder)"
        )
    paths = [local_copy(source.records) for source in records if not isinstance(source.records, RecordSet)]
    if not paths or len(paths) < len(records) or not all(are_shards(path) for path in paths):
        return mix_records(records)
    return ShardSources(_names(records), tuple(paths), _weights(records))


def _weights(sources: Sequence[DataSource]) -> tuple[float, ...] | None:
    weights = [source.weight for source in sources]
    if None in weights and any(weight is not None for weight in weights):
        lacking = _name(sources[weights.index(None)], weights.index(None))
        raise ConfigurationError(f"'{lacking}' has no weight and others have; give each one, or none")
    return tuple(weight for weight in weights if weight is not None) or None


def _names(sources: Sequence[DataSource]) -> tuple[str, ...]:
    names = [_name(source, index) for index, source in enumerate(sources)]
    return tuple(
        f"{name} ({names[:index].count(name) + 1})" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    )


def _read(records: RecordSet | str | Path) -> RecordSet:
    if isinstance(records, RecordSet):
        return records
    path = local_copy(records)
    if are_shards(path):
        raise ConfigurationError(
            f"several sources are all records files or all shards, and {path} is one of shards; unpack it first"
        )
    return read_leniently(path)


def _name(source: DataSource, index: int) -> str:
    if source.name is not None:
        return source.name
    return f"source {index + 1}" if isinstance(source.records, RecordSet) else Path(source.records).name
