"""Training examples straight from WebDataset shards, for data that is too much for one machine's memory or disk.

The samples of an epoch, in the order of its shuffled shards, are cut into one stretch per training process, of equal
length but for one sample; each stretch is shuffled within a buffer. What a stretch yields depends on the seed, the
epoch and the number of training processes only, whatever the number of loading processes, which take its batches in
turn; so a run that goes on in the middle gets what an uninterrupted one would have got.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from facekit.counted import counted
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceExample, make_example, usable_questions
from facekit.data.formats.shards import sample_fields
from facekit.data.identity import list_differences
from facekit.data.record_media import load_media
from facekit.data.records import FaceRecord, describe_problem
from facekit.data.shard_index import ShardSample, count_samples, list_samples
from facekit.data.shortened import SHORTENED_NAME, ShortenedRecord, ShortenedRecords
from facekit.data.skipping import RECORD_FAULTS, SkippedRecords
from facekit.errors import ConfigurationError, MissingExtraError, RecordError
from facekit.models.processing import FaceKitProcessor
from facekit.remote.mirror import local_copy

logger = logging.getLogger(__name__)

BUFFER = 1000
_DIGITS = 18
"""The most that a number in a tensor has for certain."""

Ends = Literal["repeat", "drop"]


@dataclass(frozen=True)
class StreamState:
    """How far a stream is, for all training processes alike.

    Args:
        epoch: Epochs that are over.
        batches: Batches of the next one that are over.
        order: What decides which samples come after that; see ``ShardLoader.order``.
    """

    epoch: int
    batches: int
    order: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            RecordError: It is missing or damaged.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RecordError(
                f"{path} cannot be read as the state of a stream ({error}); resume from an earlier checkpoint"
            ) from error


class ShardStream(IterableDataset[FaceExample]):
    """Examples of shards, those of one training process.

    A sample that cannot be used is left out and listed, as long as there are few, and the next usable one of the
    stretch is seen twice for it, so that no other sample moves and all processes end together. What an example is like
    does not depend on the stream: it is what ``FaceDataset`` makes of the record whose index is the sample's number.

    Args:
        path: A folder of shards as ``facekit preprocess`` and ``facekit convert`` write them, or one shard.
        processor: The model's processor.
        options: How records become examples.
        rank: Which training process this is.
        processes: How many there are.
        seed: Decides, with the epoch, all order.
        buffer: Samples among which the next one is drawn; 1 for the order of the shards.
        ends: Where stretches differ by a sample: ``repeat`` gives the shorter ones one of theirs again, ``drop``
            leaves one of the longer ones out for this epoch.
        log_path: Where samples that cannot be used are listed, a JSON line each, by which a resumed stream knows
            them; a file that all processes share. Without it none may be left out.
        skip_limit: Largest share of the samples that may be left out.

    Raises:
        RecordError: There are no shards, or they cannot be read.
        ConfigurationError: An argument is out of its range.
    """

    def __init__(
        self,
        path: str | Path,
        processor: FaceKitProcessor,
        options: DatasetOptions | None = None,
        *,
        rank: int = 0,
        processes: int = 1,
        seed: int = 0,
        buffer: int = BUFFER,
        ends: Ends = "repeat",
        log_path: Path | None = None,
        skip_limit: float = 0.01,
    ) -> None:
        super().__init__()
        if not 0 <= rank < processes or buffer < 1 or not 0.0 <= skip_limit <= 1.0:
            raise ConfigurationError(
                f"a stream needs a rank from 0 to {processes - 1}, a buffer of at least 1 and a skip_limit in 0 to 1, "
                f"not {rank}, {buffer} and {skip_limit}"
            )
        self.counts = self._count_samples(local_copy(path))
        self.total = sum(self.counts.values())
        self.processor = processor
        self.options = options or DatasetOptions()
        self.rank = rank
        self.processes = processes
        self.seed = seed
        self.buffer = buffer
        self.ends = ends
        self.skipped = SkippedRecords(log_path, self.total, skip_limit, noun="samples")
        self.shortened = ShortenedRecords(None if log_path is None else log_path.with_name(SHORTENED_NAME))
        self.epoch = 0
        self.batch_size = 1
        self.batches_over = 0

    def _count_samples(self, path: Path) -> dict[Path, int]:
        return count_samples(path)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self.epoch = epoch

    @property
    def samples_per_process(self) -> int:
        """How many examples each training process sees in an epoch.

        Raises:
            ConfigurationError: There are more processes than samples.
        """
        if self.total < self.processes:
            raise ConfigurationError(
                f"the {counted(self.total, 'sample')} cannot be shared by {self.processes} processes; use fewer"
            )
        return self.total // self.processes if self.ends == "drop" else -(-self.total // self.processes)

    def __iter__(self) -> Iterator[FaceExample]:
        """Yield the examples of this loading process: of every batch in turn, those of ``batches_over`` left out.

        Raises:
            RecordError: Too many samples cannot be used, or a shard cannot be read.
        """
        info = get_worker_info()
        workers, worker = (1, 0) if info is None else (info.num_workers, info.id)
        self.skipped.update()
        order = self._over_and_over()
        ahead: deque[ShardSample] = deque()
        with tempfile.TemporaryDirectory(prefix="facekit-stream-") as folder:
            for position in range(self.samples_per_process):
                sample = ahead.popleft() if ahead else next(order)
                batch = position // self.batch_size - self.batches_over
                if batch >= 0 and batch % workers == worker:
                    yield self._first_usable(sample, ahead, order, Path(folder))

    def _first_usable(
        self, sample: ShardSample, ahead: deque[ShardSample], order: Iterator[ShardSample], folder: Path
    ) -> FaceExample:
        """The example of a sample, or of the first usable one behind it, which keeps its own position, too."""
        for tried in range(self.samples_per_process):
            if tried:
                while len(ahead) < tried:
                    ahead.append(next(order))
                sample = ahead[tried - 1]
            if self._name(sample) in self.skipped:
                continue
            try:
                return self._decode(sample, folder)
            except MissingExtraError:
                raise
            except RECORD_FAULTS as error:
                self.skipped.add(self._number(sample), self._name(sample), error)
        raise RecordError(f"no sample of a training process can be used; {self.skipped.path} says why")

    def _over_and_over(self) -> Iterator[ShardSample]:
        """The samples of this process's stretch in their order, and again from the beginning."""
        while True:
            yield from self.shuffled()

    @property
    def stretch_length(self) -> int:
        """How many samples this process's stretch has."""
        return self.total * (self.rank + 1) // self.processes - self.total * self.rank // self.processes

    def shuffled(self) -> Iterator[ShardSample]:
        """The samples of this process's stretch in the order of the chosen epoch, without their bytes."""
        rng = np.random.default_rng((self.seed, self.epoch, self.rank))
        waiting: list[ShardSample] = []
        for sample in self._stretch(self.rank, self.processes):
            if len(waiting) < self.buffer:
                waiting.append(sample)
                continue
            slot = int(rng.integers(self.buffer))
            yield waiting[slot]
            waiting[slot] = sample
        for slot in rng.permutation(len(waiting)) if self.buffer > 1 else range(len(waiting)):
            yield waiting[slot]

    def _stretch(self, stretch: int, stretches: int) -> Iterator[ShardSample]:
        first, last = (self.total * edge // stretches for edge in (stretch, stretch + 1))
        if self.ends == "drop":
            last = min(last, first + self.total // stretches)
        names = list(self.counts)
        begin = 0
        for number in np.random.default_rng((self.seed, self.epoch)).permutation(len(names)):
            shard = names[number]
            end = begin + self.counts[shard]
            if begin < last and end > first:
                wanted = range(max(first - begin, 0), min(last, end) - begin)
                samples = list(islice(list_samples(shard), wanted.start, wanted.stop))
                if len(samples) < len(wanted):
                    raise RecordError(
                        f"{shard} has fewer samples than the {self.counts[shard]} announced; copy it again"
                    )
                yield from samples
            begin = end

    def _decode(self, sample: ShardSample, folder: Path) -> FaceExample:
        index = self._number(sample)
        if index is None:
            raise RecordError(f"sample {_name(sample)} has no number for a name; write shards with facekit")
        record, (pixels, points) = _open_sample(sample, folder, self.processor)
        usable = usable_questions(record, self.processor, self.options, len(points))
        if usable.left_out:
            self.shortened.add(ShortenedRecord(index, record.id, usable.kept, usable.left_out))
        options = self.options
        epoch = self._epoch_of(sample)
        return make_example(index, record, pixels, points, self.processor, options, epoch, kept=usable.kept)

    def _name(self, sample: ShardSample) -> str:
        return _name(sample)

    def _number(self, sample: ShardSample) -> int | None:
        return _number(sample)

    def _epoch_of(self, sample: ShardSample) -> int:
        """The epoch that, with its number, decides how a sample is augmented."""
        return self.epoch


class ShardLoader:
    """Batches of a stream, epoch after epoch, with a state to go on from.

    Args:
        stream: The examples of this training process.
        collator: Makes batches of them.
        batch_size: Examples per batch; the last batch of an epoch may have fewer.
        workers: Loading processes; 0 loads in this one.
        pin_memory: Keep batches where a GPU fetches them faster.
    """

    def __init__(
        self,
        stream: ShardStream,
        collator: FaceCollator,
        batch_size: int,
        *,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        _ = stream.samples_per_process
        stream.batch_size = batch_size
        self.stream = stream
        self.workers = workers
        self.epoch = 0
        self.batches = 0
        self._options: dict[str, Any] = {
            "batch_size": batch_size, "collate_fn": collator, "num_workers": workers, "pin_memory": pin_memory,
        }  # fmt: skip

    def __len__(self) -> int:
        """Batches per epoch, the same in all training processes."""
        return -(-self.stream.samples_per_process // self.stream.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield what is left of the epoch; the next iteration is the next epoch."""
        self.stream.set_epoch(self.epoch)
        self.stream.batches_over = self.batches
        # Of its own, so that a loader draws nothing from the random state of the run.
        generator = torch.Generator().manual_seed(self.stream.seed)
        for batch in DataLoader(self.stream, generator=generator, **self._options):
            self.batches += 1
            yield batch
        self.epoch, self.batches = self.epoch + 1, 0

    @property
    def order(self) -> dict[str, Any]:
        """What decides, with epoch and batch, which samples come; the same in all training processes."""
        stream = self.stream
        return {
            "seed": stream.seed, "buffer": stream.buffer, "ends": stream.ends, "processes": stream.processes,
            "batch_size": stream.batch_size,
            "shards": {shard.name: count for shard, count in stream.counts.items()},
        }  # fmt: skip

    def state(self) -> StreamState:
        """How far the loader is: the batches that were yielded, not those that are being prepared."""
        return StreamState(self.epoch, self.batches, self.order)

    def go_on_from(self, state: StreamState) -> None:
        """Go on from a state, which one process may write for all.

        Raises:
            ConfigurationError: The stream that it is of had another order.
        """
        differences = list_differences(state.order, self.order)
        if differences:
            raise ConfigurationError(f"the stream cannot go on as another: {'; '.join(differences)}")
        self.epoch, self.batches = state.epoch, state.batches


def _name(sample: ShardSample) -> str:
    return f"{sample.shard.name}/{sample.key}"


def _number(sample: ShardSample) -> int | None:
    """The index of a sample in its data set, which is its name; None for the names that others give."""
    name = Path(sample.key).name
    return int(name) if name.isdecimal() and len(name) <= _DIGITS else None


def _open_sample(
    sample: ShardSample, folder: Path, processor: FaceKitProcessor
) -> tuple[FaceRecord, tuple[Tensor, Tensor]]:
    """A sample's record and media, by way of files whose names are not those that the record asks for."""
    content = sample.read()
    record = _parse_record(sample, content)
    written: list[str] = []
    try:
        for field in sample_fields(record):
            if field not in content:
                raise RecordError(f"record {record.id!r}: sample {_name(sample)} has no .{field}")
            (folder / f"sample.{field}").write_bytes(content[field])
            written.append(f"sample.{field}")
        return record, load_media(rename_files(record, written), folder, processor)
    finally:
        for name in written:
            (folder / name).unlink()


def iterate_shard_records(path: Path) -> Iterator[FaceRecord]:
    """Read the records of shards without their media; those that are damaged are left out, as in a stream.

    Args:
        path: A folder of shards, or one shard.

    Raises:
        RecordError: There are no shards, or they cannot be read.
    """
    for shard in count_samples(path):
        for sample in list_samples(shard):
            try:
                yield _parse_record(sample, sample.read(["json"]))
            except RecordError as error:
                logger.warning("%s", error)


def _parse_record(sample: ShardSample, content: Mapping[str, bytes]) -> FaceRecord:
    if "json" not in content:
        raise RecordError(f"sample {_name(sample)} has no .json with the record")
    try:
        return FaceRecord.model_validate_json(content["json"])
    except ValidationError as error:
        raise RecordError(f"sample {_name(sample)}: {describe_problem(error)}") from error


def rename_files(record: FaceRecord, names: list[str]) -> FaceRecord:
    """The record with other names for its files, in the order of ``sample_fields``."""
    changes: dict[str, Any] = {}
    if isinstance(record.landmarks, str):
        names, changes["landmarks"] = names[:-1], names[-1]
    if record.images is not None:
        changes["images"] = names
    elif isinstance(record.video, list):
        changes["video"] = names
    elif names:
        changes["image" if record.image is not None else "video"] = names[0]
    return record.model_copy(update=changes)
