"""Held-out records as batches for a validation loss: nothing is drawn, and all processes go through alike batches."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import torch

from facekit.counted import counted
from facekit.data.dataset import DatasetOptions, FaceDataset, FaceExample, RecordSet
from facekit.data.supervision import IGNORED
from facekit.errors import FaceKitError, RecordError, first_line
from facekit.models.processing import FaceKitProcessor

logger = logging.getLogger(__name__)


class HeldOutRecords:
    """Examples of validation records as they are trained on, but with all their questions in order and without noise.

    Records that cannot be used are left out, with a warning.

    Args:
        records: The records.
        processor: The model's processor.
        options: How records of the run become examples.

    Raises:
        RecordError: None can be used.
    """

    def __init__(self, records: RecordSet, processor: FaceKitProcessor, options: DatasetOptions) -> None:
        undisturbed = replace(
            options, shuffle_turns=False, landmark_noise=0.0, landmark_dropout=0.0, turns_per_example=None,
            cache_pictures=None,
        )  # fmt: skip
        spoken = [index for index, record in enumerate(records.records) if record.conversations]
        if not spoken:
            raise RecordError(
                f"not one of {len(records)} validation records has a conversation, whose loss it would be"
            )
        self._dataset = FaceDataset(records.select(spoken), processor, undisturbed)
        groups: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for index, record in enumerate(self._dataset.records.records):
            try:
                example = self._dataset[index]
            except (FaceKitError, OSError) as error:
                logger.warning("validation record %r is left out: %s", record.id, first_line(error))
                continue
            groups[max(example.media, default=0)].append((len(example.input_ids), index))
        self._groups = [[index for _, index in sorted(members)] for _, members in sorted(groups.items())]
        if not self._groups:
            raise RecordError(f"not one of {counted(len(records), 'validation record')} can be used; see the warnings")

    def batches(self, batch_size: int, rank: int = 0, processes: int = 1) -> Iterator[list[FaceExample]]:
        """Yield a process's batches; every process has as many, each of media of the same number of frames.

        Where a round is short of one record per process, one is there again without labels, so that it counts nothing.

        Args:
            batch_size: Records per batch.
            rank: Which process this is.
            processes: How many there are.
        """
        size = batch_size * processes
        for members in self._groups:
            for start in range(0, len(members), size):
                chosen = members[start : start + size]
                own = [self._dataset[index] for index in chosen[rank::processes]]
                yield own or [_unlabelled(self._dataset[chosen[0]])]


def _unlabelled(example: FaceExample) -> FaceExample:
    return replace(example, labels=torch.full_like(example.labels, IGNORED))
