"""Pairs of near hashes are all pairs and no others, found without comparing all with all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.data.duplicates.near_pairs import find_near_pairs
from facekit.errors import ConfigurationError


def all_pairs(hashes, distance):
    """Every pair by comparing all with all; of equal hashes only those with the first of them."""
    firsts = {value: hashes.index(value) for value in hashes}
    pairs = set()
    for second, value in enumerate(hashes):
        for first in range(second):
            apart = (hashes[first] ^ value).bit_count()
            if apart == 0 and firsts[value] == first:
                pairs.add((first, second, 0))
            elif 0 < apart <= distance and firsts[value] == second and firsts[hashes[first]] == first:
                pairs.add((first, second, apart))
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))


near = st.integers(0, 2**64 - 1).flatmap(
    lambda start: st.lists(
        st.lists(st.integers(0, 63), max_size=9).map(lambda bits: start ^ sum(1 << bit for bit in set(bits))),
        min_size=1, max_size=25,
    )
)  # fmt: skip


@given(near | st.lists(st.integers(0, 2**64 - 1), max_size=25), st.integers(0, 9))
def test_all_pairs_within_the_distance_are_found_and_no_others(hashes, distance):
    found = find_near_pairs(np.array(hashes, np.uint64), distance)
    assert list(zip(*(each.tolist() for each in found), strict=True)) == all_pairs(hashes, distance)


@pytest.mark.parametrize("distance", [-1, 16, 2.5])
def test_a_distance_out_of_range_is_refused(distance):
    with pytest.raises(ConfigurationError, match="a distance is from 0 to 15 bits of 64"):
        find_near_pairs(np.zeros(2, np.uint64), distance)


def test_few_of_many_pairs_are_compared(monkeypatch):
    hashes = np.random.default_rng(0).integers(0, 2**64, 50_000, dtype=np.uint64)
    hashes[-1] = hashes[7] ^ np.uint64(0b1011)
    compared = []
    count = np.bitwise_count
    monkeypatch.setattr(np, "bitwise_count", lambda values: compared.append(len(values)) or count(values))
    first, second, apart = find_near_pairs(hashes, 4)
    assert (first.tolist(), second.tolist(), apart.tolist()) == ([7], [49_999], [3])
    assert sum(compared) < 0.001 * 50_000**2
