"""Paired comparison of models on the same faces: differences with intervals and tests.

Two models that answer the same questions are compared face by face, which sees differences that two separate
intervals hide. McNemar's test is for tasks with one label, the randomisation test for every metric.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord
from facekit.evaluation.evaluator import label_of_words
from facekit.evaluation.fairness.groups import subject_of
from facekit.evaluation.fairness.permutation import PERMUTATIONS
from facekit.evaluation.metrics.intervals import RESAMPLES, Interval, draw_weights, number_clusters, replicate
from facekit.evaluation.models.other_models import RecordedModel
from facekit.evaluation.tasks.asked import plan_tasks, question_id
from facekit.evaluation.tasks.definitions import ALL_TASKS, Task
from facekit.evaluation.tasks.questions import Question

_LARGEST_BLOCK = 1 << 22


@dataclass(frozen=True)
class PairedDifference:
    """Two models on one task.

    Args:
        task: Name of the task.
        metric: Its headline metric.
        first: Name of the one model.
        second: Name of the other.
        difference: Metric of the first minus that of the second.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p_value: Probability of so large a difference between models that differ by chance alone (randomisation test).
        mcnemar: The same by McNemar's exact test of who is right; None for tasks without one label.
    """

    task: str
    metric: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    mcnemar: float | None


def compare_predictions(
    task: Task,
    records: Sequence[FaceRecord],
    truths: Sequence[Any],
    predictions: Mapping[str, Sequence[Any]],
    *,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> tuple[PairedDifference, ...]:
    """Compare every pair of models on one task.

    Args:
        task: The task.
        records: The faces.
        truths: Their labels.
        predictions: Name of a model to what was read from its answers, in the order of the faces.
        resamples: Bootstrap replicates of the interval; the same subjects are drawn for both models.
        permutations: Random exchanges of the two models' answers, subject by subject.
        seed: Decides both.
    """
    clusters = number_clusters([subject_of(record) for record in records])
    found = []
    for first, second in combinations(predictions, 2):
        metrics = [task.weighted(truths, predictions[name]) for name in (first, second)]
        ends = [
            replicate(weighted, draw_weights(clusters, resamples=resamples, seed=seed))[task.headline]
            for weighted in metrics
        ]
        interval = Interval.of(ends[0] - ends[1]) or Interval(float("nan"), float("nan"))
        points = [float(weighted(np.ones((1, len(truths))))[task.headline][0]) for weighted in metrics]
        both = [*predictions[first], *predictions[second]]
        found.append(
            PairedDifference(
                task.name,
                task.headline,
                first,
                second,
                points[0] - points[1],
                interval.low,
                interval.high,
                _exchange_p_value(task, truths, both, clusters, permutations, seed),
                _mcnemar(truths, predictions[first], predictions[second]) if _has_one_label(truths) else None,
            )
        )
    return tuple(found)


def compare_runs(
    records: RecordSet | str | Path,
    runs: Mapping[str, str | Path],
    tasks: Sequence[Task] = ALL_TASKS,
    *,
    limit: int | None = None,
) -> tuple[PairedDifference, ...]:
    """Compare models by the predictions that their evaluations left.

    Args:
        records: The records that all were evaluated on.
        runs: Name of a model to its ``predictions.jsonl``.
        tasks: What to compare; tasks without labels are left out, and those that ask for a list are compared label by
            label where the runs were asked so, as with ``--scoring likelihood``.
        limit: That of the evaluations.

    Raises:
        RecordError: A file cannot be read, or has no answer to a question.
    """
    record_set = RecordSet.of(records)
    models = {name: RecordedModel(path) for name, path in runs.items()}
    found: list[PairedDifference] = []
    compared: set[str] = set()
    for plain in tasks:
        labelled = [record for record in record_set.records if plain.truth(record.labels) is not None]
        chosen = _as_asked(plain, models.values(), labelled)
        if not labelled or chosen.name in compared:
            continue
        compared.add(chosen.name)
        (asked,) = plan_tasks(record_set, [chosen], limit=limit)
        task, labelled = asked.task, [record_set.records[index] for index in asked.indices]
        truths = [task.truth(record.labels) for record in labelled]
        predictions = {name: _read(task, model, labelled, truths) for name, model in models.items()}
        found += compare_predictions(task, labelled, truths, predictions)
    return tuple(found)


def _as_asked(task: Task, models: Collection[RecordedModel], labelled: Sequence[FaceRecord]) -> Task:
    """The task, or the one that asks for the same label by label where files have answers to its questions alone."""

    def is_answered(asked: Task) -> bool:
        keys = (
            question_id(record, asked, item)
            for record in labelled
            for item in asked.questions(asked.truth(record.labels))
        )
        return any(key in model for key in keys for model in models)

    one_by_one = task.one_by_one
    return task if one_by_one is None or is_answered(task) or not is_answered(one_by_one) else one_by_one


def _read(task: Task, model: RecordedModel, records: Sequence[FaceRecord], truths: Sequence[Any]) -> list[Any]:
    read = []
    for record, truth in zip(records, truths, strict=True):
        items = list(task.questions(truth))
        asked = [Question(question_id(record, task, item), "") for item in items]
        answers = [text for _, text in sorted(model.answer(asked))]
        values = {
            item: label_of_words(model.extracted[question.id], truth, item)
            if question.id in model.extracted
            else task.reading(text, item).value
            for item, question, text in zip(items, asked, answers, strict=True)
        }
        read.append(values if task.ask_each is not None and task.parse_item is not None else values[""])
    return read


def _exchange_p_value(
    task: Task, truths: Sequence[Any], both: Sequence[Any], clusters: np.ndarray, permutations: int, seed: int
) -> float:
    """Share of random exchanges of the models' answers, none among them, that differ at least as much."""
    weighted = task.weighted([*truths, *truths], both)

    def difference(kept: np.ndarray) -> np.ndarray:
        ends = [weighted(np.concatenate(pair, axis=1).astype(float)) for pair in ((kept, ~kept), (~kept, kept))]
        return np.abs(ends[0][task.headline] - ends[1][task.headline])

    observed = difference(np.ones((1, len(truths)), dtype=bool))[0]
    rng, reached = np.random.default_rng((seed, 2)), 0
    rows = max(1, _LARGEST_BLOCK // (2 * len(truths)))
    for start in range(0, permutations, rows):
        kept = rng.random((min(rows, permutations - start), int(clusters.max()) + 1)) < 0.5
        reached += int((difference(kept[:, clusters]) >= observed - 1e-12).sum())
    return (reached + 1) / (permutations + 1)


def _has_one_label(truths: Sequence[Any]) -> bool:
    return all(isinstance(truth, (str, bool)) for truth in truths)


def _mcnemar(truths: Sequence[Any], first: Sequence[Any], second: Sequence[Any]) -> float:
    """Exact two-sided McNemar test on the faces where only one of the models is right (McNemar 1947)."""
    from scipy.stats import binomtest

    right = [(truth == one, truth == other) for truth, one, other in zip(truths, first, second, strict=True)]
    only_first, only_second = right.count((True, False)), right.count((False, True))
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)
