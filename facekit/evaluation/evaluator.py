"""One call that evaluates a model on records: answers, scores, baselines, groups, and the files that keep them."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord
from facekit.errors import RecordError
from facekit.evaluation.answering import answer_questions
from facekit.evaluation.metrics import require_scikit_learn
from facekit.evaluation.results import EvaluationResult, GroupComparison, GroupScore, TaskResult
from facekit.evaluation.tasks import ALL_TASKS, Task
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor

METRICS_NAME, PREDICTIONS_NAME = "metrics.json", "predictions.jsonl"


def evaluate(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    records: RecordSet | str | Path,
    tasks: Sequence[Task] = ALL_TASKS,
    *,
    training_records: RecordSet | str | Path | None = None,
    output_dir: str | Path | None = None,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Ask a model the tasks' questions about every record and score the answers.

    Args:
        model: The model.
        processor: Its processor.
        records: Records with labels, or the path of a records file.
        tasks: What to ask.
        training_records: Where the baselines' constant answers come from; without it there are no baselines.
        output_dir: Where ``metrics.json`` and ``predictions.jsonl`` are written; None writes nothing.
        batch_size: Pictures at a time.
        on_progress: Called with the number of pictures done and in all.

    Returns:
        Metrics of every task that has labels.

    Raises:
        RecordError: There are no records, or none has a label of any of the tasks.
        ImageError: A picture cannot be opened.
        MissingExtraError: scikit-learn is not installed.
    """
    require_scikit_learn()
    record_set = RecordSet.of(records)
    training = None if training_records is None else RecordSet.of(training_records)
    labelled = [task for task in tasks if any(task.truth(record.labels) is not None for record in record_set.records)]
    if not labelled:
        raise RecordError(
            f"none of the {len(record_set)} records in {record_set.folder} has a label of the tasks "
            f"{', '.join(task.name for task in tasks)}"
        )
    started = time.perf_counter()
    questions = [(task.question, task.max_new_tokens) for task in labelled]
    answers = answer_questions(model, processor, record_set, questions, batch_size=batch_size, on_progress=on_progress)
    seconds = time.perf_counter() - started
    columns = list(zip(*answers, strict=True))
    results = tuple(
        score_task(task, record_set.records, column, training.records if training else ())
        for task, column in zip(labelled, columns, strict=True)
    )
    result = EvaluationResult(len(record_set), results, seconds)
    if output_dir is not None:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        _write_predictions(folder / PREDICTIONS_NAME, labelled, record_set.records, answers)
        result.write(folder / METRICS_NAME)
    return result


def score_task(
    task: Task, records: Sequence[FaceRecord], answers: Sequence[str], training: Sequence[FaceRecord] = ()
) -> TaskResult:
    """Score one task's answers.

    Args:
        task: The task.
        records: The records; those without a label of the task are left out.
        answers: The model's answers, in the order of the records.
        training: Records whose labels choose the baseline's constant answer.

    Raises:
        RecordError: No record has a label of the task.
    """
    rows = [
        (record, truth, task.parse(answer))
        for record, answer in zip(records, answers, strict=True)
        if (truth := task.truth(record.labels)) is not None
    ]
    if not rows:
        raise RecordError(f"no record has a label of the task '{task.name}'")
    truths, predictions = [row[1] for row in rows], [row[2] for row in rows]
    constant, baseline = _baseline(task, truths, training)
    return TaskResult(
        task=task.name,
        title=task.title,
        question=task.question,
        count=len(rows),
        unreadable=sum(prediction is None for prediction in predictions),
        headline=task.headline,
        headline_title=task.headline_title,
        higher_is_better=task.higher_is_better,
        metrics=task.score(truths, predictions),
        baseline=baseline,
        baseline_answer=constant,
        groups=_compare_groups(task, rows),
    )


def _baseline(task: Task, truths: Sequence[Any], training: Sequence[FaceRecord]) -> tuple[str | None, dict[str, float]]:
    known = [truth for record in training if (truth := task.truth(record.labels)) is not None]
    if not known:
        return None, {}
    constant = task.constant(known)
    return describe_label(constant), task.score(truths, [constant] * len(truths))


def _compare_groups(task: Task, rows: Sequence[tuple[FaceRecord, Any, Any]]) -> tuple[GroupComparison, ...]:
    members: dict[str, dict[str, list[tuple[Any, Any]]]] = defaultdict(lambda: defaultdict(list))
    for record, truth, prediction in rows:
        for attribute, group in record.groups.items():
            members[attribute][group].append((truth, prediction))
    comparisons = []
    for attribute in sorted(members):
        scores = []
        for group, pairs in members[attribute].items():
            truths, predictions = zip(*pairs, strict=True)
            scores.append(GroupScore(group, len(pairs), task.score(truths, predictions)[task.headline]))
        comparisons.append(GroupComparison.of(attribute, scores, higher_is_better=task.higher_is_better))
    return tuple(comparisons)


def describe_label(label: Any) -> str:
    """A label in words: ``happiness``, ``AU6, AU12``, ``none``, ``34``, ``manipulated``."""
    if isinstance(label, bool):
        return "manipulated" if label else "genuine"
    if isinstance(label, float):
        return f"{label:.0f}"
    if isinstance(label, dict):
        label = frozenset(name for name, present in label.items() if present)
    if isinstance(label, (set, frozenset)):
        return ", ".join(sorted(label, key=lambda name: (name.startswith("AU") and len(name), name))) or "none"
    return str(label)


def _write_predictions(
    path: Path, tasks: Sequence[Task], records: Sequence[FaceRecord], answers: Sequence[Sequence[str]]
) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for record, row in zip(records, answers, strict=True):
            for task, answer in zip(tasks, row, strict=True):
                truth, prediction = task.truth(record.labels), task.parse(answer)
                entry = {
                    "id": record.id,
                    "task": task.name,
                    "answer": answer,
                    "prediction": None if prediction is None else describe_label(prediction),
                    "truth": None if truth is None else describe_label(truth),
                    "groups": record.groups,
                }
                lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
