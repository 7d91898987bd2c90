"""Near-duplicate answers, found by MinHash over word triples.

Broder, "On the resemblance and containment of documents", 1997; the signatures are cut into bands that are compared
by sorting, so that memory grows by about half a kilobyte per answer and no pair is compared that shares no band. One
permutation hash and fixed constants make the result the same in every run.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

import numpy as np

from facekit.errors import ConfigurationError

PERMUTATIONS, BANDS = 96, 24
SHINGLE = 3
MINIMUM_WORDS = 20
"""Shorter answers are never duplicates: there are only so many ways to name a label."""
_PRIME = (1 << 31) - 1
_CHANCE = np.random.default_rng(20250710)
_FACTORS = _CHANCE.integers(1, _PRIME, PERMUTATIONS, dtype=np.uint64)
_OFFSETS = _CHANCE.integers(0, _PRIME, PERMUTATIONS, dtype=np.uint64)


def signature(text: str) -> np.ndarray | None:
    """MinHash signature of a text, uint32 of shape (PERMUTATIONS,); None for a text that is too short."""
    words = re.findall(r"\w+", text.lower())
    if len(words) < MINIMUM_WORDS:
        return None
    shingles = {" ".join(words[start : start + SHINGLE]) for start in range(len(words) - SHINGLE + 1)}
    hashes = np.array([zlib.crc32(shingle.encode()) % _PRIME for shingle in shingles], dtype=np.uint64)
    smallest: np.ndarray = ((hashes[:, None] * _FACTORS + _OFFSETS) % _PRIME).min(axis=0).astype(np.uint32)
    return smallest


def find_duplicates(texts: Iterable[tuple[str, str]], similarity: float) -> dict[str, str]:
    """Find texts that repeat an earlier one.

    Args:
        texts: Name and text, in order; the first of a group of duplicates is kept.
        similarity: Estimated Jaccard similarity of the word triples from which two texts are duplicates.

    Returns:
        Name of the repeating text to the name of the one that it repeats.

    Raises:
        ConfigurationError: If the similarity is not above 0 and at most 1.
    """
    if not 0.0 < similarity <= 1.0:
        raise ConfigurationError(f"similarity={similarity} is out of range; it is above 0 and at most 1")
    names, rows = [], []
    for name, text in texts:
        row = signature(text)
        if row is not None:
            names.append(name)
            rows.append(row)
    if len(rows) < 2:
        return {}
    signatures = np.stack(rows)
    original = np.arange(len(names))
    width = PERMUTATIONS // BANDS
    for band in range(BANDS):
        columns = signatures[:, band * width : (band + 1) * width]
        _, bucket = np.unique(columns, axis=0, return_inverse=True)
        _link_bucket(bucket.reshape(-1), signatures, original, similarity)
    return {names[index]: names[_root(original, index)] for index in range(len(names)) if original[index] != index}


def _link_bucket(bucket: np.ndarray, signatures: np.ndarray, original: np.ndarray, similarity: float) -> None:
    """Compare each text of a bucket with the bucket's first that is no duplicate itself."""
    order = np.argsort(bucket, kind="stable")
    starts = np.flatnonzero(np.diff(bucket[order], prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        kept: list[int] = []
        for index in order[start:end]:
            if original[index] != index:
                continue
            near = next((first for first in kept[-50:] if _alike(signatures, first, index) >= similarity), None)
            if near is None:
                kept.append(int(index))
            else:
                original[index] = near


def _alike(signatures: np.ndarray, first: int, second: int) -> float:
    return float((signatures[first] == signatures[second]).mean())


def _root(original: np.ndarray, index: int) -> int:
    while original[index] != index:
        index = int(original[index])
    return index
