"""Pairs of 64-bit hashes that differ in few bits, among millions of them, without comparing all with all.

Two hashes that differ in at most d bits agree in at least one of d + 1 groups of bits. So for each group the hashes are
sorted by its bits, and only neighbours that agree in them are compared. The result is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from facekit.errors import ConfigurationError

__all__ = ["BITS", "find_near_pairs"]

BITS = 64
MOST_DISTANCE = 15


def check_distance(distance: int) -> None:
    """Raise ``ConfigurationError`` where hashes cannot be compared at so many bits."""
    if distance not in range(MOST_DISTANCE + 1):
        raise ConfigurationError(f"a distance is from 0 to {MOST_DISTANCE} bits of {BITS}, not {distance}")


def find_near_pairs(hashes: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find all pairs of hashes that differ in at most so many bits.

    Args:
        hashes: uint64 of shape ``(N,)``.
        distance: The largest number of bits, from 0 to 15.

    Returns:
        Indices ``first < second`` and the bits in which they differ, each ``(P,)``, ordered by ``second``, then
        ``first``. Of equal hashes only pairs with the first of them are listed: what is near one of them is near all.

    Raises:
        ConfigurationError: The distance is out of its range.
    """
    check_distance(distance)
    different, firsts, owners = np.unique(hashes.astype(np.uint64), return_index=True, return_inverse=True)
    copies = np.flatnonzero(firsts[owners] != np.arange(len(hashes)))
    found = [(firsts[owners[copies]], copies, np.zeros(len(copies), np.int64))]
    if distance:
        for one, other in _candidates(different, distance):
            apart = np.bitwise_count(different[one] ^ different[other]).astype(np.int64)
            near = apart <= distance
            first, second = firsts[one[near]], firsts[other[near]]
            found.append((np.minimum(first, second), np.maximum(first, second), apart[near]))
    first, second, apart = (np.concatenate(each) for each in zip(*found, strict=True))
    pairs = np.unique(np.stack([second, first, apart], axis=1).astype(np.int64), axis=0)
    return pairs[:, 1], pairs[:, 0], pairs[:, 2]


def _candidates(hashes: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of pairs that agree in one of ``distance + 1`` groups of bits; some come more than once."""
    edges = np.linspace(0, BITS, distance + 2).astype(int)
    for start, end in pairwise(edges.tolist()):
        mask = np.uint64((1 << (end - start)) - 1)
        keys = (hashes >> np.uint64(start)) & mask
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        alike = np.arange(len(keys))
        step = 0
        while len(alike):
            step += 1
            alike = alike[alike + step < len(keys)]
            alike = alike[keys[alike] == keys[alike + step]]
            yield order[alike], order[alike + step]
