"""Who is in a record: its subject and its demographic groups; and a task's scored answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from facekit.data.records import FaceRecord

SUBJECT_KEYS = ("subject", "person", "actor")
"""Entries of a record's ``source`` that say who is in the picture."""

_JOINT = " × "


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """A task's answers to the records that have its label.

    Args:
        records: The records.
        truths: Their labels.
        predictions: What was read from the answers.
        overconfidences: Per record the probability of its answer minus 1 where it is right, else minus 0; None where
            answers have no probabilities.
    """

    records: Sequence[FaceRecord]
    truths: Sequence[Any]
    predictions: Sequence[Any]
    overconfidences: Sequence[float] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def select(self, indices: np.ndarray) -> ScoredRows:
        """The rows at these indices."""
        columns = (self.records, self.truths, self.predictions, self.overconfidences)
        return ScoredRows(*(None if column is None else [column[i] for i in indices] for column in columns))  # type: ignore[arg-type]


def subject_of(record: FaceRecord) -> str:
    """Who is in the picture, where the record's source says so (``SUBJECT_KEYS``), else the record by itself."""
    source = record.source if isinstance(record.source, dict) else {}
    subject = next((source[key] for key in SUBJECT_KEYS if source.get(key) is not None), None)
    return record.id if subject is None else f"{source.get('dataset', '')}/{subject}"


def group_codes(records: Sequence[FaceRecord], attribute: str) -> tuple[list[str], np.ndarray]:
    """Names of an attribute's groups in alphabetical order, and each record's group as their index, -1 for none.

    Args:
        records: The records.
        attribute: A key of their ``groups``, or several joined by `` × `` for the groups where they cross.
    """
    keys = attribute.split(_JOINT)
    held = [
        ", ".join(record.groups[key] for key in keys) if all(key in record.groups for key in keys) else None
        for record in records
    ]
    names = sorted({name for name in held if name is not None})
    codes = {name: index for index, name in enumerate(names)}
    return names, np.array([-1 if name is None else codes[name] for name in held])


def attributes_of(records: Sequence[FaceRecord]) -> list[str]:
    """What the records' groups differ in, in alphabetical order."""
    return sorted({name for record in records for name in record.groups})


def crossed_attributes(records: Sequence[FaceRecord]) -> list[str]:
    """Every two attributes, joined as ``group_codes`` takes them."""
    return [_JOINT.join(pair) for pair in combinations(attributes_of(records), 2)]
