"""Shares of several record files in an epoch, and which of their records an epoch sees.

An epoch has as many examples as all files have records. Without weights every record is seen once. With weights each
file gives its share, exact to one example: of a file that has more records, the next part in every epoch; of one that
has fewer, some more than once. What is seen when depends on the seed and the epoch only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facekit.errors import RecordError


@dataclass(frozen=True)
class SourceShare:
    """What a source gives an epoch.

    Args:
        name: Its name.
        records: How many records it has.
        examples: How many examples of an epoch are of it.
        share: The same as a fraction of the epoch.
    """

    name: str
    records: int
    examples: int
    share: float


@dataclass(frozen=True)
class Mixture:
    """The sources of a record set.

    Args:
        names: Of the sources.
        sources: The source of each record, an index into the names.
        weights: Of the sources; None where every record is seen once.
    """

    names: tuple[str, ...]
    sources: tuple[int, ...]
    weights: tuple[float, ...] | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many records each source has."""
        return tuple(np.bincount(self.sources, minlength=len(self.names)).tolist())

    @property
    def quotas(self) -> tuple[int, ...]:
        """How many examples of an epoch each source gives.

        Raises:
            RecordError: A source with a weight has no record.
        """
        if self.weights is None:
            return self.sizes
        empty = next((name for name, size in zip(self.names, self.sizes, strict=True) if not size), None)
        if empty is not None:
            raise RecordError(f"'{empty}' has no record that can be used, so it cannot give its share")
        return divide(len(self.sources), self.weights)

    def select(self, indices: Sequence[int]) -> Mixture:
        """The mixture of some of the records."""
        return replace(self, sources=tuple(np.asarray(self.sources)[np.asarray(indices, dtype=np.int64)].tolist()))

    def shares(self) -> list[SourceShare]:
        """What each source gives an epoch."""
        return [
            SourceShare(name, size, quota, quota / len(self.sources))
            for name, size, quota in zip(self.names, self.sizes, self.quotas, strict=True)
        ]


def divide(total: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Divide a number by weights into whole parts that add up to it, none of which is off by one or more.

    The parts with the largest remainders are rounded up; of equal ones the first.
    """
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [int(value) for value in exact]
    order = sorted(range(len(parts)), key=lambda index: (parts[index] - exact[index], index))
    for index in order[: total - sum(parts)]:
        parts[index] += 1
    return tuple(parts)


def take_in_turn(members: np.ndarray, count: int, epoch: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Take what an epoch sees of some records, so that over the epochs all are seen equally often.

    The records are gone through in passes, shuffled anew in each; an epoch takes the next ``count`` of them.

    Args:
        members: Indices of the records.
        count: How many examples an epoch has of them.
        epoch: The epoch.
        seed: Decides the order of each pass.

    Returns:
        Their indices, and for each how often it occurred in the epoch before, ``(count,)``.
    """
    if not count:
        return members[:0], members[:0]
    first, last = epoch * count, (epoch + 1) * count
    passes = range(first // len(members), -(-last // len(members)))
    orders = [np.random.default_rng((*seed, number)).permutation(members) for number in passes]
    start = first - passes.start * len(members)
    chosen = np.concatenate(orders)[start : start + count]
    numbers = np.repeat(np.arange(len(passes)), len(members))[start : start + count]
    in_first_pass = np.isin(chosen, orders[0][start:])
    return chosen, np.where(in_first_pass, numbers, numbers - 1)
