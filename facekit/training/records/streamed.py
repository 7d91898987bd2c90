"""Training straight from shards: records as a stream rather than in memory.

A folder of shards replaces the records file; the trainer's loop, checkpoints and messages stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import torch
from torch.utils.data import DataLoader

from facekit.compat.accelerate import feed_device
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceExample, RecordSet
from facekit.data.lenient import read_leniently
from facekit.data.records import FaceRecord
from facekit.data.shard_index import count_samples
from facekit.data.streaming import ShardStream, iterate_shard_records
from facekit.errors import ConfigurationError
from facekit.models.processing import FaceKitProcessor
from facekit.training.loop.distributed import count_processes
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.records.corrupt import SkippingDataset


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
        return f"sample {index:09d}"

    def __len__(self) -> int:
        """The most samples that nine digits can number."""
        return 10**9


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
            rank=int(os.environ.get("RANK", "0")),
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
        shards = [(shard.name, shard.stat().st_size, count) for shard, count in self.counts.items()]
        digest = hashlib.sha256(json.dumps(shards).encode()).hexdigest()
        return f"{self.total} in {len(shards)} shards with the hash {digest[:16]}"


def open_dataset(
    records: RecordSet | str | Path,
    processor: FaceKitProcessor,
    options: DatasetOptions,
    settings: TrainingSettings,
    log_path: Path,
) -> SkippingDataset | StreamedDataset:
    """Open what a run is trained on.

    Args:
        records: Records, the path of a records file, or that of shards.
        processor: The model's processor.
        options: How records become examples.
        settings: The run's settings.
        log_path: Where records that cannot be used are listed.

    Raises:
        RecordError: The records or shards cannot be read.
        ConfigurationError: A setting needs all records beforehand, which shards do not give.
    """
    if isinstance(records, RecordSet) or not _are_shards(Path(records)):
        found = records if isinstance(records, RecordSet) else read_leniently(records)
        return SkippingDataset(found, processor, options, log_path=log_path, limit=settings.skip_limit)
    wanted = {
        "cache_features": settings.cache_features,
        "feature_cache": settings.feature_cache is not None,
        "group_batches": settings.group_batches,
    }
    for name, is_set in wanted.items():
        if is_set:
            raise ConfigurationError(f"{name} needs a records file, and {records} are shards; leave it out")
    return StreamedDataset(Path(records), processor, options, log_path=log_path, limit=settings.skip_limit)


def open_source(path: Path) -> RecordSet | Path:
    """Read a records file leniently, or make sure that a path is one of shards, and return what ``train`` takes.

    Raises:
        RecordError: The records or shards cannot be read.
    """
    if not _are_shards(path):
        return read_leniently(path)
    count_samples(path)
    return path


def iterate_source(source: RecordSet | Path) -> Iterator[FaceRecord]:
    """The records of what ``open_source`` returned, without their media."""
    return iter(source.records) if isinstance(source, RecordSet) else iterate_shard_records(source)


def load_stream(
    dataset: StreamedDataset, collator: FaceCollator, batch_size: int, device: torch.device, workers: int = 0
) -> DataLoader[FaceExample]:
    """Return accelerate's data loader of a stream that is this process's own already."""
    pins = device.type == "cuda"
    dataset.batch_size = batch_size
    loader = DataLoader(dataset, batch_size=batch_size, collate_fn=collator, num_workers=workers, pin_memory=pins)
    return feed_device(loader, device, dispatch_batches=False)


def _are_shards(path: Path) -> bool:
    return path.suffix == ".tar" or (path.is_dir() and any(path.glob("*.tar")))
