"""Training straight from shards: records as a stream rather than in memory.

A folder of shards replaces the records file; the trainer's loop, checkpoints and messages stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from facekit.compat.accelerate import feed_device
from facekit.counted import counted
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceExample, RecordSet
from facekit.data.lenient import read_leniently
from facekit.data.mixing import ShardSources
from facekit.data.mixture import divide
from facekit.data.records import FaceRecord
from facekit.data.shard_index import ShardSample, are_shards, count_samples
from facekit.data.streaming import ShardStream, iterate_shard_records
from facekit.errors import ConfigurationError
from facekit.models.processing import FaceKitProcessor
from facekit.remote.mirror import local_copy, require_here
from facekit.training.loop.distributed import count_processes
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.records.corrupt import SkippingDataset

NUMBERS_OF_A_SOURCE = 10**15
"""Numbers of the samples of one set; those of the next begin there. ``facekit preprocess`` writes up to 13 digits."""


class SampleNames(Sequence[str]):
    """What samples are called in messages, by number, as many as there may be."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """The name of a sample."""
        if isinstance(index, slice):
            return [self[number] for number in range(index.start or 0, index.stop, index.step or 1)]
        return self._name(index)

    def _name(self, index: int) -> str:
        return f"sample {index:09d}"

    def __len__(self) -> int:
        """The most samples that there may be."""
        return NUMBERS_OF_A_SOURCE


class MixedNames(SampleNames):
    """What samples of several sets are called, by number.

    Args:
        names: Of the sets.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def _name(self, index: int) -> str:
        source, number = divmod(index, NUMBERS_OF_A_SOURCE)
        return f"{self.names[source]}, {super()._name(number)}"


@dataclass(frozen=True)
class MixedSample(ShardSample):
    """The location of a sample, its set, and the pass through that which has come to it."""

    source: int
    number_of_pass: int


class StreamedDataset(ShardStream):
    """The shards of a run, as far as this process reads them.

    Args:
        path: A folder of shards, or one.
        processor: The model's processor.
        options: How records become examples; its seed decides the order, too.
        log_path: Where samples that cannot be used are listed.
        limit: Largest share of them.
    """

    def __init__(
        self, path: Path, processor: FaceKitProcessor, options: DatasetOptions, *, log_path: Path, limit: float
    ) -> None:
        super().__init__(
            path,
            processor,
            options,
            rank=_rank(),
            processes=count_processes(),
            seed=options.seed,
            log_path=log_path,
            skip_limit=limit,
        )

    def __len__(self) -> int:
        """How many examples this process sees in an epoch."""
        return self.samples_per_process

    @property
    def record_ids(self) -> Sequence[str]:
        """Names of the samples, by number."""
        return SampleNames()

    def describe(self) -> str:
        """Number of the samples, and a hash of the shards' names, sizes and counts."""
        return describe_shards(self.counts)


def describe_shards(counts: Mapping[Path, int]) -> str:
    """Number of the samples of shards, and a hash of the shards' names, sizes and counts."""
    shards = []
    for shard, count in counts.items():
        require_here(shard, None)
        shards.append((shard.name, shard.stat().st_size, count))
    digest = hashlib.sha256(json.dumps(shards).encode()).hexdigest()
    return f"{sum(counts.values())} in {len(shards)} shards with the hash {digest[:16]}"


class MixedStreams(StreamedDataset):
    """Several sets of shards, each with its share of an epoch.

    An epoch has as many examples as all sets have samples, drawn from the sets in a random order of exact shares. Every
    process goes through its stretch of a set in passes, shuffled anew in each, and an epoch takes up where the one
    before ended: of a large set the next part, a small one more than once, augmented anew in each pass.

    Args:
        sources: The sets.
        processor: The model's processor.
        options: How records become examples.
        log_path: Where samples that cannot be used are listed.
        limit: Largest share of them.

    Raises:
        RecordError: There are no shards, or they cannot be read.
        ConfigurationError: A set has fewer samples than the run has processes.
    """

    def __init__(
        self,
        sources: ShardSources,
        processor: FaceKitProcessor,
        options: DatasetOptions,
        *,
        log_path: Path,
        limit: float,
    ) -> None:
        self.sources = sources
        self.members = tuple(
            ShardStream(path, processor, options, rank=_rank(), processes=count_processes(), seed=options.seed)
            for path in sources.paths
        )
        for name, member in zip(sources.names, self.members, strict=True):
            if member.total < member.processes:
                raise ConfigurationError(
                    f"'{name}' has {counted(member.total, 'sample')}, too few for {member.processes} processes; use "
                    "fewer"
                )
        super().__init__(sources.paths[0], processor, options, log_path=log_path, limit=limit)

    @property
    def quotas(self) -> tuple[int, ...]:
        """How many examples each set gives every process in an epoch."""
        return divide(self.samples_per_process, self.sources.weights or [each.total for each in self.members])

    @property
    def record_ids(self) -> Sequence[str]:
        """Names of the samples, by number."""
        return MixedNames(self.sources.names)

    def describe(self) -> str:
        """What ``StreamedDataset`` says of each set, and its weight."""
        described = (describe_shards(member.counts) for member in self.members)
        parts = [f"{name}: {each}" for name, each in zip(self.sources.names, described, strict=True)]
        weights = "" if self.sources.weights is None else f", by weights {self.sources.weights}"
        return "; ".join(parts) + weights

    def find_sources(self, indices: Tensor) -> Tensor:
        """The set of each example, ``(B,)``, by its number."""
        return indices // NUMBERS_OF_A_SOURCE

    def _count_samples(self, path: Path) -> dict[Path, int]:
        return {shard: count for member in self.members for shard, count in member.counts.items()}

    def _over_and_over(self) -> Iterator[ShardSample]:
        quotas = self.quotas
        order = np.repeat(np.arange(len(quotas)), quotas)
        order = np.random.default_rng((self.seed, self.epoch, self.rank)).permutation(order)
        samples = [self._in_passes(source, self.epoch * quota) for source, quota in enumerate(quotas)]
        while True:
            for source in order:
                yield next(samples[source])

    def _in_passes(self, source: int, start: int) -> Iterator[MixedSample]:
        """The samples of a set, pass after pass, from one of all on."""
        member = self.members[source]
        number, passed = divmod(start, member.stretch_length)
        while True:
            member.set_epoch(number)
            for sample in islice(member.shuffled(), passed, None):
                yield MixedSample(sample.shard, sample.key, sample.fields, source, number)
            number, passed = number + 1, 0

    def _name(self, sample: ShardSample) -> str:
        assert isinstance(sample, MixedSample)
        return f"{self.sources.names[sample.source]}/{super()._name(sample)}"

    def _number(self, sample: ShardSample) -> int | None:
        assert isinstance(sample, MixedSample)
        number = super()._number(sample)
        if number is None or number >= NUMBERS_OF_A_SOURCE:
            return None
        return number + sample.source * NUMBERS_OF_A_SOURCE

    def _epoch_of(self, sample: ShardSample) -> int:
        assert isinstance(sample, MixedSample)
        return sample.number_of_pass


def open_dataset(
    records: RecordSet | str | Path | ShardSources,
    processor: FaceKitProcessor,
    options: DatasetOptions,
    settings: TrainingSettings,
    log_path: Path,
) -> SkippingDataset | StreamedDataset:
    """Open what a run is trained on.

    Args:
        records: Records, the path of a records file, that of shards, or several sets of shards.
        processor: The model's processor.
        options: How records become examples.
        settings: The run's settings.
        log_path: Where records that cannot be used are listed.

    Raises:
        RecordError: The records or shards cannot be read.
        ConfigurationError: A setting needs all records beforehand, which shards do not give.
    """
    if not isinstance(records, (RecordSet, ShardSources)):
        records = local_copy(records)
    if isinstance(records, RecordSet) or not (isinstance(records, ShardSources) or are_shards(Path(records))):
        found = records if isinstance(records, RecordSet) else read_leniently(records)
        return SkippingDataset(found, processor, options, log_path=log_path, limit=settings.skip_limit)
    wanted = {
        "cache_features": settings.cache_features,
        "feature_cache": settings.feature_cache is not None,
        "group_batches": settings.group_batches,
    }
    for name, is_set in wanted.items():
        if is_set:
            shards = ", ".join(map(str, records.paths)) if isinstance(records, ShardSources) else records
            raise ConfigurationError(f"{name} needs a records file, and {shards} are shards; leave it out")
    if isinstance(records, ShardSources):
        return MixedStreams(records, processor, options, log_path=log_path, limit=settings.skip_limit)
    return StreamedDataset(Path(records), processor, options, log_path=log_path, limit=settings.skip_limit)


def open_source(path: Path) -> RecordSet | Path:
    """Read a records file leniently, or make sure that a path is one of shards, and return what ``train`` takes.

    Raises:
        RecordError: The records or shards cannot be read.
    """
    path = local_copy(path)
    if not are_shards(path):
        return read_leniently(path)
    count_samples(path)
    return path


def iterate_source(source: RecordSet | Path | ShardSources) -> Iterator[FaceRecord]:
    """The records of what ``open_source`` or ``join_sources`` returned, without their media."""
    if isinstance(source, ShardSources):
        return chain.from_iterable(map(iterate_shard_records, source.paths))
    return iter(source.records) if isinstance(source, RecordSet) else iterate_shard_records(source)


def load_stream(
    dataset: StreamedDataset, collator: FaceCollator, batch_size: int, device: torch.device, workers: int = 0
) -> DataLoader[FaceExample]:
    """Return accelerate's data loader of a stream that is this process's own already."""
    pins = device.type == "cuda"
    dataset.batch_size = batch_size
    loader = DataLoader(dataset, batch_size=batch_size, collate_fn=collator, num_workers=workers, pin_memory=pins)
    return feed_device(loader, device, dispatch_batches=False)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
