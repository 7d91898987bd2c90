"""Evaluation results as plain data: metrics beside baselines, by task and by group, read and written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from facekit.data.atomic import write_text_atomically
from facekit.errors import CheckpointError
from facekit.evaluation.metrics.intervals import holm_adjusted
from facekit.evaluation.report.group_results import (
    Disparity,
    GroupComparison,
    disparity_of_metric,
    disparity_of_rate,
)

DISPARITY_LEVEL = 0.05
"""Greatest probability, over a whole result, that a reported difference between groups is a false alarm."""


@dataclass(frozen=True)
class Extraction:
    """What a model extracted for one task, and how far it agrees with the rules.

    Args:
        model: Name of the model.
        unread: Answers that the rules could not read.
        extracted: Those of them that the model mapped to a label.
        both: Answers that both read.
        same: Those of them that both read alike; for lists of labels every label the same, for ages within
            two years.
        kappa: Cohen's kappa over those that both read, for lists over every label of them; None for ages, and where
            both always say the same one label.
    """

    model: str
    unread: int
    extracted: int
    both: int
    same: int
    kappa: float | None = None

    @property
    def words(self) -> str:
        """All of it in one sentence."""
        read = f"{self.model} read {self.extracted:,} of {self.unread:,} answers that the rules could not read"
        if not self.both:
            return f"{read}; no answer was read by both"
        kappa = "" if self.kappa is None else f", Cohen's kappa {self.kappa:.2f}"
        return f"{read}; both read {self.both:,}, {self.same:,} alike ({self.same / self.both:.0%}{kappa})"


@dataclass(frozen=True)
class TaskResult:
    """The results of one task.

    Args:
        task: Name of the task.
        title: Its name for people.
        question: What was asked.
        count: Faces that were asked about.
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
        labelled: Faces with a label; more than ``count`` where a sample of them was asked about. 0 where that is not
            known, from an earlier version.
        prompts: What was asked, word for word: by label where each is asked for, else under an empty name.
        extraction: What a language model read where the rules could not; None where none was asked.
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
    labelled: int = 0
    prompts: Mapping[str, str] = field(default_factory=dict)
    extraction: Extraction | None = None

    @property
    def unreadable_words(self) -> str:
        """Number of unreadable answers, such as ``5 of 20 (2 unanswered)``."""
        missing = f" ({self.unanswered:,} unanswered)" if self.unanswered else ""
        return f"{self.unreadable:,} of {self.count:,}{missing}"

    @property
    def sample_words(self) -> str:
        """How many faces were asked about of how many, such as ``200 of 5,000``; empty where all were."""
        return f"{self.count:,} of {self.labelled:,}" if self.labelled > self.count else ""

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
    """The results of an evaluation.

    Args:
        faces: Number of records.
        tasks: Results in the order of the tasks.
        seconds: How long the model took to answer.
        model: Name of the model, where it has one.
        questions: Questions answered, over all tasks.
        prompts: The style of the prompts: ``trained``, ``closed``, ``recorded`` or the name of a file; empty where an
            earlier version did not say. Their texts are with the tasks.
        limit: Records of each task that were asked about at most; None for all.
    """

    faces: int
    tasks: tuple[TaskResult, ...]
    seconds: float
    model: str = ""
    questions: int = 0
    prompts: str = ""
    limit: int | None = None

    @property
    def questions_per_second(self) -> float:
        """Throughput."""
        return self.questions / self.seconds if self.seconds else 0.0

    def disparities(self, level: float = DISPARITY_LEVEL) -> tuple[Disparity, ...]:
        """The differences between groups that are reported.

        Args:
            level: Greatest probability that any of them is a false alarm, over all tests of this result together.

        Returns:
            Largest gap first. Where error rates of several labels differ, one row each; all but the clearest of a test
            are held to Bonferroni's bound.
        """
        tests = self._tests()
        adjusted = holm_adjusted({name: p_value for name, (p_value, _) in tests.items()})
        found = []
        for name, (_, rows) in tests.items():
            if adjusted[name] > level:
                continue
            first, *others = sorted(rows, key=lambda row: row.p_value)
            found.append(replace(first, p_value=adjusted[name]))
            strict = [replace(row, p_value=min(1.0, row.p_value * len(tests))) for row in others]
            found += [row for row in strict if row.p_value <= level]
        return tuple(sorted(found, key=lambda disparity: -disparity.value))

    @property
    def test_count(self) -> int:
        """Number of tests for differences between groups, which p-values are adjusted for."""
        return len(self._tests())

    def _tests(self) -> dict[str, tuple[float, list[Disparity]]]:
        """Every test's p-value and what it is about; the error rates of a task by one attribute are one test."""
        tests: dict[str, tuple[float, list[Disparity]]] = {}
        for task in self.tasks:
            for comparison in task.groups:
                rows = {"odds": comparison.rates}
                rows["calibration"] = () if comparison.calibration is None else (comparison.calibration,)
                found = {
                    kind: [
                        disparity_of_rate(task.task, comparison.attribute, kind, gap, gap.p_value)
                        for gap in gaps
                        if gap.p_value is not None
                    ]
                    for kind, gaps in rows.items()
                }
                if comparison.p_value is not None:
                    found["metric"] = [disparity_of_metric(task.task, comparison, comparison.p_value)]
                for kind, each in found.items():
                    if each:
                        name = "\n".join((task.task, comparison.attribute, kind))
                        tests[name] = (min(row.p_value for row in each), each)
        return tests

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
            return cls(
                values["faces"], tasks, values["seconds"], values.get("model", ""), values.get("questions", 0),
                values.get("prompts", ""), values.get("limit"),
            )  # fmt: skip
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path} is not an evaluation result ({error}); evaluate the model again") from error


def _read_task(entry: dict[str, Any]) -> TaskResult:
    intervals = {name: (low, high) for name, (low, high) in entry.get("intervals", {}).items()}
    groups = {
        name: tuple(GroupComparison.read(group) for group in entry.get(name, ()))
        for name in ("groups", "intersections")
    }
    extraction = None if entry.get("extraction") is None else Extraction(**entry["extraction"])
    return TaskResult(**{**entry, "intervals": intervals, "extraction": extraction, **groups})
