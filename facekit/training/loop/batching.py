"""Batch sampling by modality and length, in step across all processes of a run.

Padding an image's conversation to the length of a clip's wastes most of a batch; and where weights are sharded, every
process must go through the same parts of the model, or the others wait for ever. So, like the released Face-LLaVA
(whose grouping is LLaVA's), batches do not mix modalities; unlike there, the lengths within one are close.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from facekit.compat.accelerate import feed_device
from facekit.data.collation import FaceCollator
from facekit.data.dataset import FaceDataset, FaceExample
from facekit.data.mixture import Mixture, divide, take_in_turn
from facekit.data.record_facts import facts_of, frame_counts, shows_several
from facekit.data.records import FaceRecord
from facekit.errors import ConfigurationError
from facekit.models.processing import FaceKitProcessor

ROUNDS_PER_WINDOW = 50


class GroupedBatchSampler(Sampler[list[int]]):
    """Deals the indices of a data set in batches, one per process and round.

    Where records have weights, an epoch sees each source's share of every group, see ``facekit.data.mixture``; an index
    beyond the records is that of a record that occurred before, counted on by their number: ``index % records``.

    In every epoch each group is shuffled and cut into windows; a window is sorted by length and cut into rounds of
    ``batch_size * processes`` neighbours, which the processes share; the rounds of all groups are shuffled. Which
    rounds there are depends on that product, the seed and the epoch only. Every index occurs once in an epoch, but for
    what a group's last round is short of one per process: at most ``processes - 1`` indices per group are repeated.

    Args:
        groups: What each index belongs to, such as its number of frames.
        lengths: Its length, in any unit.
        batch_size: Samples per batch; the last batches of a group may have fewer.
        seed: Decides, with the epoch, all order.
        rank: Which process this is.
        processes: How many there are.
        window: Rounds within which indices are sorted: more is less padding, and less randomness.
        mixture: The sources of the records, where they have weights.

    Raises:
        ConfigurationError: There is nothing to deal, or an argument is out of its range.
    """

    def __init__(
        self,
        groups: Sequence[Hashable],
        lengths: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        processes: int = 1,
        window: int = ROUNDS_PER_WINDOW,
        mixture: Mixture | None = None,
    ) -> None:
        if not groups or len(groups) != len(lengths):
            raise ConfigurationError(
                f"batches need a group and a length for each sample, and one sample at least, not "
                f"{len(groups)} groups and {len(lengths)} lengths"
            )
        if batch_size < 1 or window < 1 or not 0 <= rank < processes:
            raise ConfigurationError(
                f"batches need batch_size and window of at least 1 and a rank from 0 to {processes - 1}, not "
                f"{batch_size}, {window} and {rank}"
            )
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.window = window
        self.epoch = 0
        members: dict[Hashable, list[int]] = defaultdict(list)
        for index, group in enumerate(groups):
            members[group].append(index)
        self._strata = [list(_stratify(np.asarray(indices), mixture)) for indices in members.values()]
        if mixture is not None and mixture.weights is not None:
            self._set_quotas(mixture)

    @property
    def samples_per_round(self) -> int:
        """How many indices all processes together take in a round."""
        return self.batch_size * self.processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is dealt."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches per process and epoch."""
        sizes = (sum(stratum.count for stratum in strata) for strata in self._strata)
        return sum(-(-size // self.samples_per_round) for size in sizes)

    def __iter__(self) -> Iterator[list[int]]:
        """Deal this process's batches of the chosen epoch."""
        rng = np.random.default_rng((self.seed, self.epoch))
        rounds = [each for strata in self._strata for each in self._cut(rng.permutation(self._see(strata)))]
        for number in rng.permutation(len(rounds)):
            yield [int(index) for index in rounds[number][self.rank :: self.processes]]

    def _set_quotas(self, mixture: Mixture) -> None:
        """Divide each source's share by the sizes of its groups, so that every epoch has as many batches."""
        for source, quota in enumerate(mixture.quotas):
            own = [stratum for strata in self._strata for stratum in strata if stratum.source == source]
            for stratum, count in zip(own, divide(quota, [len(each.members) for each in own]), strict=True):
                stratum.count = count

    def _see(self, strata: Sequence[_Stratum]) -> np.ndarray:
        """What the chosen epoch sees of a group."""
        seen = []
        for stratum in strata:
            if stratum.source is None:
                seen.append(stratum.members)
                continue
            seed = (self.seed, stratum.source, int(stratum.members[0]))
            indices, repetitions = take_in_turn(stratum.members, stratum.count, self.epoch, seed)
            seen.append(indices + repetitions * len(self.lengths))
        return np.concatenate(seen)

    def _cut(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(indices), self.window * self.samples_per_round):
            chosen = indices[start : start + self.window * self.samples_per_round]
            # The last round of a group is its short one, wherever its lengths fall.
            whole = len(chosen) - len(chosen) % self.samples_per_round
            ordered = chosen[:whole][np.argsort(self.lengths[chosen[:whole] % len(self.lengths)], kind="stable")]
            yield from ordered.reshape(-1, self.samples_per_round)
            rest = chosen[whole:]
            if len(rest):
                yield rest if len(rest) >= self.processes else np.resize(rest, self.processes)


@dataclass
class _Stratum:
    """What a source has of a group: its records, and how many examples of an epoch are of them."""

    members: np.ndarray
    source: int | None
    count: int


def _stratify(indices: np.ndarray, mixture: Mixture | None) -> Iterator[_Stratum]:
    if mixture is None or mixture.weights is None:
        yield _Stratum(indices, None, len(indices))
        return
    sources = np.asarray(mixture.sources)[indices]
    for source in np.unique(sources):
        own = indices[sources == source]
        yield _Stratum(own, int(source), len(own))


class EpochNotifier(TrainerCallback):
    """Sets a sampler's epoch, also of a run that is resumed in the middle of one."""

    def __init__(self, sampler: GroupedBatchSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch."""
        self.sampler.set_epoch(int(state.epoch or 0))


def group_records(
    records: Sequence[FaceRecord],
    processor: FaceKitProcessor,
    batch_size: int,
    *,
    seed: int = 0,
    rank: int = 0,
    processes: int = 1,
    mixture: Mixture | None = None,
) -> GroupedBatchSampler:
    """Group records by the frames of their media, and within that by the tokens that they will have, roughly.

    Several pictures are with single ones, because they go through the encoder alike; text alone is by itself.

    Args:
        records: The records.
        processor: Knows what a frame costs.
        batch_size: Records per batch and process.
        seed: Decides, with the epoch, all order.
        rank: Which process this is.
        processes: How many there are.
        mixture: The sources of the records, where they have weights.
    """
    facts = facts_of(records)
    counts, several = frame_counts(facts, processor.image_processor.num_frames), shows_several(facts)
    frames = np.where(several, np.minimum(counts, 1), counts)
    costs = {count: processor.count_visual_tokens(count) for count in np.unique(frames).tolist()}
    visual = np.array([costs[count] for count in frames.tolist()]) * np.where(several, counts, 1)
    lengths = np.where(counts > 0, visual, 0) + facts["words"]
    return GroupedBatchSampler(
        frames.tolist(), lengths.tolist(), batch_size, seed=seed, rank=rank, processes=processes, mixture=mixture
    )  # fmt: skip


class Occurrences(Dataset[FaceExample]):
    """A data set whose records may occur more than once in an epoch, by the indices of ``GroupedBatchSampler``.

    Args:
        dataset: The examples.
    """

    def __init__(self, dataset: FaceDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> FaceExample:
        """Return the example of a record's occurrence."""
        self.dataset.repetition, record = divmod(index, len(self.dataset))
        return self.dataset[record]


def load_groups(
    dataset: FaceDataset, sampler: GroupedBatchSampler, collator: FaceCollator, device: torch.device, workers: int = 0
) -> DataLoader[FaceExample]:
    """Return accelerate's data loader of a sampler that has dealt the batches already.

    Args:
        dataset: The examples.
        sampler: Says which of them this process takes.
        collator: Makes batches of them.
        device: Where batches go.
        workers: Processes that load.
    """
    pins = device.type == "cuda"
    loader = DataLoader(
        Occurrences(dataset), batch_sampler=sampler, collate_fn=collator, num_workers=workers, pin_memory=pins
    )  # fmt: skip
    return feed_device(loader, device)
