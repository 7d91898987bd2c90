"""Evaluation results as plain data: metrics beside baselines, by task and by group, read and written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from facekit.data.atomic import write_text_atomically
from facekit.errors import CheckpointError
from facekit.evaluation.metrics.intervals import holm_adjusted

SMALLEST_GROUP = 10
"""Groups of fewer faces are listed but not compared: their scores are mostly noise."""

DISPARITY_LEVEL = 0.05
"""Greatest probability, over a whole result, that a reported difference between groups is a false alarm."""


@dataclass(frozen=True)
class GroupScore:
    """One task's headline metric for one demographic group.

    Args:
        group: The group's name, such as ``senior``.
        count: Faces of the group with a label.
        value: The metric.
        low: Lower end of its 95 % interval; None where none was computed.
        high: Upper end.
    """

    group: str
    count: int
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_small(self) -> bool:
        """Whether the group is too small to be compared."""
        return self.count < SMALLEST_GROUP


@dataclass(frozen=True)
class OddsDifference:
    """Equalised-odds difference: the largest gap between groups of a true or false positive rate.

    Args:
        value: The gap, between 0 and 1.
        label: The label whose rate it is.
        rate: ``true positive rate`` or ``false positive rate``.
        higher: The group with the highest rate.
        lower: The group with the lowest.
        low: Lower end of the 95 % interval of the difference between these two; None where none was computed.
        high: Upper end.
        p_value: Probability of rates that differ as much, were groups irrelevant; over all labels and rates.
    """

    value: float
    label: str
    rate: str
    higher: str
    lower: str
    low: float | None = None
    high: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class GroupComparison:
    """One task's headline metric over the groups of one attribute.

    Args:
        attribute: What the groups differ in, such as ``age_group``.
        scores: The groups in alphabetical order.
        worst: Name of the group with the worst score, of those with ``SMALLEST_GROUP`` faces; None below two such.
        best: Name of the group with the best score.
        gap: Difference between the two, not negative.
        gap_low: Lower end of the 95 % interval of the difference between these two; None where none was computed.
        gap_high: Upper end.
        p_value: Probability of so large a spread between the groups, were they irrelevant.
        odds: Equalised odds; None where a task has no yes-or-no decisions, or too few faces.
    """

    attribute: str
    scores: tuple[GroupScore, ...]
    worst: str | None
    best: str | None
    gap: float | None
    gap_low: float | None = None
    gap_high: float | None = None
    p_value: float | None = None
    odds: OddsDifference | None = None

    @property
    def too_small(self) -> tuple[str, ...]:
        """Names of the groups that are listed but not compared."""
        return tuple(score.group for score in self.scores if score.is_small)

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
    """The results of one task.

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
        intervals: 95 % intervals of the metrics, lower and upper end; empty where none were computed.
        intersections: Comparisons between the groups where two attributes cross.
        unanswered: Faces of ``unreadable`` about which the model gave no answer to a question.
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
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    intersections: tuple[GroupComparison, ...] = ()
    unanswered: int = 0

    @property
    def unreadable_words(self) -> str:
        """Number of unreadable answers, such as ``5 of 20 (2 unanswered)``."""
        missing = f" ({self.unanswered:,} unanswered)" if self.unanswered else ""
        return f"{self.unreadable:,} of {self.count:,}{missing}"

    @property
    def score(self) -> float:
        """The headline metric."""
        return self.metrics[self.headline]

    @property
    def baseline_score(self) -> float | None:
        """The headline metric of the constant answer."""
        return self.baseline.get(self.headline)


@dataclass(frozen=True)
class Disparity:
    """A significant difference between groups.

    Args:
        task: Name of the task.
        attribute: What the groups differ in.
        kind: ``metric``, or ``odds`` for equalised odds.
        value: The gap.
        low: Lower end of its 95 % interval.
        high: Upper end.
        worst: The group that fares worst; for odds, the one with the lowest rate.
        best: The group that fares best; for odds, the one with the highest rate.
        p_value: Adjusted for the number of tests (Holm).
    """

    task: str
    attribute: str
    kind: str
    value: float
    low: float | None
    high: float | None
    worst: str
    best: str
    p_value: float


@dataclass(frozen=True)
class EvaluationResult:
    """The results of an evaluation.

    Args:
        faces: Number of records.
        tasks: Results in the order of the tasks.
        seconds: How long the model took to answer.
        model: Name of the model, where it has one.
        questions: Questions answered, over all tasks.
    """

    faces: int
    tasks: tuple[TaskResult, ...]
    seconds: float
    model: str = ""
    questions: int = 0

    @property
    def questions_per_second(self) -> float:
        """Throughput."""
        return self.questions / self.seconds if self.seconds else 0.0

    def disparities(self, level: float = DISPARITY_LEVEL) -> tuple[Disparity, ...]:
        """The differences between groups that are reported.

        Args:
            level: Greatest probability that any of them is a false alarm, over all tests of this result together.

        Returns:
            Largest gap first.
        """
        tests: dict[tuple[str, str, str], tuple[float, Disparity]] = {}
        for task in self.tasks:
            for comparison in task.groups:
                for kind, found in (("metric", comparison), ("odds", comparison.odds)):
                    if found is not None and found.p_value is not None:
                        key = (task.task, comparison.attribute, kind)
                        tests[key] = (found.p_value, _disparity(task.task, comparison, kind))
        adjusted = holm_adjusted({"\n".join(key): p_value for key, (p_value, _) in tests.items()})
        kept = [
            replace(disparity, p_value=adjusted["\n".join(key)])
            for key, (_, disparity) in tests.items()
            if adjusted["\n".join(key)] <= level
        ]
        return tuple(sorted(kept, key=lambda disparity: -disparity.value))

    def __getitem__(self, task: str) -> TaskResult:
        return next(result for result in self.tasks if result.task == task)

    def write(self, path: str | Path) -> Path:
        """Write everything as JSON."""
        return write_text_atomically(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what ``write`` wrote; raises ``CheckpointError`` where it is not that."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            tasks = tuple(_read_task(entry) for entry in values["tasks"])
            return cls(values["faces"], tasks, values["seconds"], values.get("model", ""), values.get("questions", 0))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path} is not an evaluation result ({error})") from error


def _disparity(task: str, comparison: GroupComparison, kind: str) -> Disparity:
    odds = comparison.odds
    if kind == "odds" and odds is not None:
        return Disparity(
            task, comparison.attribute, kind, odds.value, odds.low, odds.high, odds.lower, odds.higher, 1.0
        )
    gap, low, high = comparison.gap or 0.0, comparison.gap_low, comparison.gap_high
    worst, best = comparison.worst or "", comparison.best or ""
    return Disparity(task, comparison.attribute, kind, gap, low, high, worst, best, 1.0)


def _read_task(entry: dict[str, Any]) -> TaskResult:
    intervals = {name: (low, high) for name, (low, high) in entry.get("intervals", {}).items()}
    groups = {
        name: tuple(_read_comparison(group) for group in entry.get(name, ())) for name in ("groups", "intersections")
    }
    return TaskResult(**{**entry, "intervals": intervals, **groups})


def _read_comparison(entry: dict[str, Any]) -> GroupComparison:
    scores = tuple(GroupScore(**score) for score in entry["scores"])
    odds = OddsDifference(**entry["odds"]) if entry.get("odds") else None
    return GroupComparison(**{**entry, "scores": scores, "odds": odds})
