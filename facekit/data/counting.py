"""Counts over a stream of records, for summaries of sources and for dataset cards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from facekit.data.labels import TASKS, VERIFICATION, FaceLabels, Task
from facekit.data.records import FaceRecord

__all__ = ["RecordCounts", "labelled_tasks", "origin_of"]

_FIELDS: dict[Task, str] = {task: "manipulated" if task == "manipulation" else task for task in TASKS}


def labelled_tasks(labels: FaceLabels) -> list[Task]:
    """The tasks for which a face is labelled, in the order of ``TASKS``."""
    return [task for task, name in _FIELDS.items() if getattr(labels, name) is not None]


def origin_of(record: FaceRecord) -> str:
    """The name of the data set that a record says it came from, or ``"unknown"``."""
    source = record.source
    if isinstance(source, dict):
        source = str(source.get("dataset") or source.get("name") or "") or None
    return source or "unknown"


@dataclass
class RecordCounts:
    """How many records there are, and of which kinds.

    Attributes:
        records: All records.
        media: Records by ``image``, ``images`` (several pictures), ``video``, and ``text`` for those of none.
        splits: Records by split; those without one are not counted.
        origins: Records by data set of origin.
        tasks: Records by the tasks they are labelled for, ``verification`` among them.
        expressions: Records by expression.
        groups: For each group attribute, records by group.
        with_landmarks: Records with landmarks.
        answers: Answers by the task they belong to; ``""`` where the turn has none.
        licenses: Records by the licence that they state.
        unlicensed: Records that state none, by data set of origin.
        consents: Records by the consent that they state.
    """

    records: int = 0
    media: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    expressions: Counter[str] = field(default_factory=Counter)
    groups: dict[str, Counter[str]] = field(default_factory=dict)
    with_landmarks: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    unlicensed: Counter[str] = field(default_factory=Counter)
    consents: Counter[str] = field(default_factory=Counter)

    def add(self, record: FaceRecord) -> None:
        """Count one record."""
        self.records += 1
        kinds = (kind for kind in ("image", "images", "video") if getattr(record, kind) is not None)
        self.media[next(kinds, "text")] += 1
        if record.split is not None:
            self.splits[record.split] += 1
        self.origins[origin_of(record)] += 1
        if record.license is None:
            self.unlicensed[origin_of(record)] += 1
        else:
            self.licenses[record.license] += 1
        if record.consent is not None:
            self.consents[record.consent] += 1
        self.tasks.update(labelled_tasks(record.labels))
        if record.same is not None:
            self.tasks[VERIFICATION] += 1
        if record.labels.expression is not None:
            self.expressions[record.labels.expression] += 1
        for attribute, group in record.groups.items():
            self.groups.setdefault(attribute, Counter())[group] += 1
        self.with_landmarks += record.landmarks is not None
        self.answers.update(turn.task or "" for turn in record.conversations if turn.role == "assistant")

    def watch(self, records: Iterable[FaceRecord]) -> Iterator[FaceRecord]:
        """Pass records on and count each."""
        for record in records:
            self.add(record)
            yield record
