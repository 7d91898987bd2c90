"""``choose_stratified``: a seeded sample that has every label in its share, the same again in every run.

Samples are nested: what a limit of 100 chooses is among what a limit of 200 chooses, so that a run with a higher limit
goes on with the answers that are there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from facekit.data.labels import age_group_of

SAMPLE_SEED = 0


def choose_stratified(
    keys: Sequence[str], strata: Sequence[str], limit: int | None, *, seed: int = SAMPLE_SEED
) -> list[int]:
    """Choose so many of a list, every stratum in its share.

    Args:
        keys: A unique name of each, by which the seed shuffles it within its stratum.
        strata: The stratum of each.
        limit: How many; None, or more than there are, for all.
        seed: Of the shuffle.

    Returns:
        Indices of the chosen ones, in their order.
    """
    if limit is None or limit >= len(keys):
        return list(range(len(keys)))
    members: dict[str, list[int]] = defaultdict(list)
    for index, stratum in enumerate(strata):
        members[stratum].append(index)
    order = []
    for indices in members.values():
        indices.sort(key=lambda index: _digest(keys[index], seed))
        order += [
            ((rank + 0.5) / len(indices), _digest(keys[index], seed), index) for rank, index in enumerate(indices)
        ]
    return sorted(index for _, _, index in sorted(order)[:limit])


def stratum_of(truth: Any) -> str:
    """The stratum of a label: the label itself, the age group of an age, one for all lists of labels."""
    if isinstance(truth, Mapping):
        return ""
    if isinstance(truth, (int, float)) and not isinstance(truth, bool):
        return age_group_of(truth)
    return str(truth)


def _digest(key: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}\n{key}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
