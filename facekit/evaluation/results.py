"""What an evaluation found: metrics beside baselines, by task and by group, as plain data that is written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from facekit.errors import CheckpointError

SMALLEST_GROUP = 10
"""Groups of fewer faces are listed but not compared: their scores are mostly chance."""


@dataclass(frozen=True)
class GroupScore:
    """One task's headline metric for one demographic group.

    Args:
        group: The group's name, such as ``senior``.
        count: Faces of the group with a label.
        value: The metric.
    """

    group: str
    count: int
    value: float


@dataclass(frozen=True)
class GroupComparison:
    """One task's headline metric over the groups of one attribute.

    Args:
        attribute: What the groups differ in, such as ``age_group``.
        scores: The groups in alphabetical order.
        worst: Name of the group with the worst score, of those with ``SMALLEST_GROUP`` faces; None below two such.
        best: Name of the group with the best score.
        gap: Difference between the two, not negative.
    """

    attribute: str
    scores: tuple[GroupScore, ...]
    worst: str | None
    best: str | None
    gap: float | None

    @classmethod
    def of(cls, attribute: str, scores: Sequence[GroupScore], *, higher_is_better: bool) -> Self:
        """Compare the groups that are large enough."""
        ordered = tuple(sorted(scores, key=lambda score: score.group))
        compared = sorted((score for score in ordered if score.count >= SMALLEST_GROUP), key=lambda score: score.value)
        if len(compared) < 2:
            return cls(attribute, ordered, None, None, None)
        low, high = compared[0], compared[-1]
        worst, best = (low, high) if higher_is_better else (high, low)
        return cls(attribute, ordered, worst.group, best.group, high.value - low.value)


@dataclass(frozen=True)
class TaskResult:
    """What one task came to.

    Args:
        task: Name of the task.
        title: Its name for people.
        question: What was asked.
        count: Faces with a label.
        unreadable: Answers that named no label; they were scored as wrong.
        headline: Name of the metric that stands for the task.
        headline_title: Its name for people.
        higher_is_better: Whether it grows with quality.
        metrics: All metrics by name.
        baseline: The same metrics of one constant answer; empty where there were no training labels.
        baseline_answer: That answer, in words.
        groups: Comparisons between demographic groups.
    """

    task: str
    title: str
    question: str
    count: int
    unreadable: int
    headline: str
    headline_title: str
    higher_is_better: bool
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    baseline_answer: str | None
    groups: tuple[GroupComparison, ...]

    @property
    def score(self) -> float:
        """The headline metric."""
        return self.metrics[self.headline]

    @property
    def baseline_score(self) -> float | None:
        """The headline metric of the constant answer."""
        return self.baseline.get(self.headline)


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Args:
        faces: Number of records.
        tasks: Results in the order of the tasks.
        seconds: How long the model took to answer.
    """

    faces: int
    tasks: tuple[TaskResult, ...]
    seconds: float

    def __getitem__(self, task: str) -> TaskResult:
        return next(result for result in self.tasks if result.task == task)

    def write(self, path: str | Path) -> Path:
        """Write everything as JSON."""
        path = Path(path)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what ``write`` wrote; raises ``CheckpointError`` where it is not that."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            tasks = tuple(_read_task(entry) for entry in values["tasks"])
            return cls(values["faces"], tasks, values["seconds"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path} is not an evaluation result ({error})") from error


def _read_task(entry: dict[str, Any]) -> TaskResult:
    groups = tuple(
        GroupComparison(**{**group, "scores": tuple(GroupScore(**score) for score in group["scores"])})
        for group in entry["groups"]
    )
    return TaskResult(**{**entry, "groups": groups})
