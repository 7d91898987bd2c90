"""Offline checks of explanations: whether they name the label, by the tasks' parsers.

Nothing here is a rating. Whether an explanation agrees with the picture, and whether it is complete, takes a model that
sees the picture; ``CANNOT`` says so in every result.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facekit.catalog import current_registry
from facekit.data.atomic import open_atomically
from facekit.evaluation.judging.explanations import JudgedAnswer
from facekit.evaluation.tasks.definitions import Task, load_tasks

LABEL_CHECKS_NAME = "label_checks.json"
NEAR_YEARS = 5.0
"""An age that is at most so far from the true one is no contradiction."""

AGREES, INCOMPLETE, CONTRADICTS, SILENT = "agrees", "incomplete", "contradicts", "names no label"
UNCHECKED = "no label to check"

CANNOT = (
    "consistency with the image: needs a judge that sees the picture",
    "completeness: needs a judge that sees the picture",
    "consistency with the label as a rating: only naming and contradicting the label is checked",
)
"""What the offline check does not judge."""


@dataclass(frozen=True)
class LabelCheck:
    """How the answers of one task stand to the labels.

    Args:
        task: Name of the task.
        count: Answers.
        outcomes: ``AGREES``; ``INCOMPLETE``, where some of several labels are missing and none is wrong;
            ``CONTRADICTS``; ``SILENT``; or ``UNCHECKED``, where the record has no label of the task, to number of
            answers.
    """

    task: str
    count: int
    outcomes: Mapping[str, int]

    def share(self, outcome: str) -> float:
        """Share of the answers with an outcome, between 0 and 1."""
        return self.outcomes.get(outcome, 0) / self.count


def check_labels(answers: Sequence[JudgedAnswer]) -> tuple[LabelCheck, ...]:
    """Check answers against the labels of their records, task by task in alphabetical order."""
    known = {task.name: task for task in load_tasks(current_registry().names("task"))}
    found: dict[str, Counter[str]] = {}
    for answer in answers:
        task = known.get(answer.task)
        outcome = UNCHECKED if task is None else check_answer(task, answer)
        found.setdefault(answer.task, Counter())[outcome] += 1
    return tuple(LabelCheck(name, outcomes.total(), dict(outcomes)) for name, outcomes in sorted(found.items()))


def write_label_checks(path: str | Path, checks: Sequence[LabelCheck]) -> Path:
    """Write checks as JSON, with what they cannot judge."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"ratings": None, "not_judged": CANNOT, "tasks": [asdict(check) for check in checks]}
    with open_atomically(path) as file:
        file.write(json.dumps(values, indent=2) + "\n")
    return path


def check_answer(task: Task, answer: JudgedAnswer) -> str:
    """How one answer stands to the label of its record: one of the outcomes above."""
    truth = task.truth(answer.record.labels)
    if truth is None:
        return UNCHECKED
    if task.adapt is not None:
        task = task.adapt(task, [truth])
    if answer.item and task.parse_item is not None:
        present = task.reading(answer.answer, answer.item).value
        return SILENT if present is None else AGREES if present == truth[answer.item] else CONTRADICTS
    said = task.reading(answer.answer).value
    return SILENT if said is None else _compare(truth, said)


def _compare(truth: Any, said: Any) -> str:
    if isinstance(truth, Mapping) and isinstance(said, AbstractSet):
        if any(truth.get(label) is False for label in said):
            return CONTRADICTS
        missing = any(present and label not in said for label, present in truth.items())
        if missing:
            return INCOMPLETE if said else CONTRADICTS
        return AGREES
    if isinstance(truth, float) and not isinstance(said, bool):
        return AGREES if abs(truth - said) <= NEAR_YEARS else CONTRADICTS
    return AGREES if truth == said else CONTRADICTS
