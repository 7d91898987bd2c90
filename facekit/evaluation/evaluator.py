"""Evaluation of a model on records in one call: answers, scores, intervals, baselines, groups and files."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from facekit.answers.reading import Reading
from facekit.data.atomic import open_atomically
from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord
from facekit.errors import RecordError
from facekit.evaluation.fairness.disparities import compare_groups, compare_intersections
from facekit.evaluation.fairness.groups import ScoredRows, subject_of
from facekit.evaluation.fairness.permutation import PERMUTATIONS
from facekit.evaluation.metrics.calibration import confidence_of
from facekit.evaluation.metrics.intervals import RESAMPLES, bootstrap_intervals, number_clusters
from facekit.evaluation.metrics.scores import require_scikit_learn
from facekit.evaluation.metrics.weighted import WeightedMetrics, weigh_auc, weigh_mean_auc
from facekit.evaluation.models.answer_log import ANSWERS_NAME, AnswerLog
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.report.results import EvaluationResult, Extraction, TaskResult
from facekit.evaluation.tasks.asked import AskedTask, keep_asked, plan_questions, plan_tasks, question_id
from facekit.evaluation.tasks.collecting import collect_replies, identify_answers
from facekit.evaluation.tasks.definitions import ALL_TASKS, Task
from facekit.evaluation.tasks.extraction import Extracted, Extractor, Readings, extract_labels
from facekit.evaluation.tasks.prompts import TRAINED, PromptStyle
from facekit.evaluation.tasks.questions import ModelUnderTest, Reply, well_formed
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.reports import ProgressListener, as_listener

METRICS_NAME, PREDICTIONS_NAME = "metrics.json", "predictions.jsonl"


@dataclass(frozen=True)
class Statistics:
    """Bootstrap and permutation settings.

    Args:
        resamples: Bootstrap replicates of every interval; 0 leaves intervals out.
        permutations: Most shuffles of the groups in every test for disparities; 0 leaves the tests out.
        seed: Decides both.
    """

    resamples: int = RESAMPLES
    permutations: int = PERMUTATIONS
    seed: int = 0


NO_STATISTICS = Statistics(0, 0)
"""Point values only."""


def evaluate(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    records: RecordSet | str | Path,
    tasks: Sequence[Task] = ALL_TASKS,
    *,
    training_records: RecordSet | str | Path | None = None,
    output_dir: str | Path | None = None,
    batch_size: int = 64,
    on_progress: ProgressListener | None = None,
) -> EvaluationResult:
    """Ask a model of facekit the tasks' questions about every record and score the answers.

    Args:
        model: The model.
        processor: Its processor.
        records: Records with labels, or the path of a records file.
        tasks: What to ask.
        training_records: Where the baselines' constant answers come from; without it there are no baselines.
        output_dir: Where results are written, see ``evaluate_model``; None writes nothing.
        batch_size: Pictures at a time.
        on_progress: Called with a ``Progress`` after every answer.

    Returns:
        Metrics of every task that has labels.

    Raises:
        RecordError: There are no records, or none has a label of any of the tasks.
        ImageError: A picture cannot be opened.
        MissingExtraError: scikit-learn is not installed.
    """
    return evaluate_model(
        FaceKitModel(model, processor, batch_size=batch_size),
        records,
        tasks,
        training_records=training_records,
        output_dir=output_dir,
        on_progress=as_listener(on_progress, "evaluate"),
    )


def evaluate_model(
    model: ModelUnderTest,
    records: RecordSet | str | Path,
    tasks: Sequence[Task] = ALL_TASKS,
    *,
    scoring: str = "generation",
    prompts: str | Path | PromptStyle | None = None,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    training_records: RecordSet | str | Path | None = None,
    output_dir: str | Path | None = None,
    resume: bool = False,
    extractor: Extractor | None = None,
    statistics: Statistics | None = None,
    on_progress: ProgressListener | None = None,
) -> EvaluationResult:
    """Ask any model the tasks' questions about every record and score the answers.

    Args:
        model: The model.
        records: Records with labels, or the path of a records file.
        tasks: What to ask; a record is asked what it has a label for.
        scoring: ``generation``, the model writes its answers; ``likelihood``, the most likely option of each task is
            its answer, and tasks without options are left out.
        prompts: ``trained``, the questions that facekit's models learned; ``closed``, questions that name the labels
            and the form of the answer; or a YAML file with a prompt for each task. By default what the model says of
            itself by ``prompt_style``: ``closed`` for models that facekit did not train.
        limit: Ask about so many records of each task: a sample that has every label in its share, the same in every
            run, and among what a higher limit asks.
        max_new_tokens: Longest answer in tokens; by default each task's own. Models that think need thousands.
        training_records: Where the baselines' constant answers come from; without it there are no baselines.
        output_dir: Where ``answers.jsonl`` (as they come), ``predictions.jsonl`` and ``metrics.json`` are written; None
            writes nothing.
        resume: Go on with the answers that an earlier run of the same model left there; a question whose words or
            pictures have changed is asked again.
        extractor: A language model that maps answers to labels where the rules read none; ``extractions.jsonl`` has
            its replies as they come.
        statistics: Bootstrap and permutation settings.
        on_progress: Called with a ``Progress`` after every answer.

    Returns:
        Metrics of every task that has labels.

    Raises:
        RecordError: There are no records, or none has a label of any of the tasks.
        ConfigurationError: The folder has another run's answers, the model cannot be scored that way, or there are no
            such prompts.
        ImageError: A picture cannot be opened.
        MissingExtraError: scikit-learn is not installed.

    Examples:
        >>> from facekit.evaluation import AGE, evaluate_model, open_model
        >>> result = evaluate_model(open_model("runs/demo"), "faces/records.jsonl", [AGE])
        >>> result["age"].count
        4
    """
    require_scikit_learn()
    on_progress = as_listener(on_progress, "evaluate_model")
    record_set = RecordSet.of(records)
    training = None if training_records is None else RecordSet.of(training_records)
    style = PromptStyle.of(getattr(model, "prompt_style", TRAINED) if prompts is None else prompts)
    planned = plan_tasks(record_set, tasks, scoring, prompts=style, limit=limit, max_new_tokens=max_new_tokens)
    faces = len(record_set)
    record_set, planned = keep_asked(record_set, planned)
    questions = plan_questions(record_set, planned)
    folder = None if output_dir is None else Path(output_dir)
    started = time.perf_counter()
    with ExitStack() as stack:
        log = None
        if folder is not None:
            run = identify_answers(model, scoring=scoring)
            log = stack.enter_context(AnswerLog(folder / ANSWERS_NAME, run, resume=resume))
        replies = collect_replies(
            model, questions, scoring=scoring, log=log, stage=f"ask {model.name}".rstrip(), on_progress=on_progress
        )
    seconds = time.perf_counter() - started
    by_id = {question.id: reply for question, reply in zip(questions, replies, strict=True)}
    extracted: Extracted = {}
    extractions: dict[str, Extraction] = {}
    if extractor is not None:
        extracted, extractions = extract_labels(
            extractor, record_set, planned, by_id, output_dir=folder, resume=resume, on_progress=on_progress
        )
    counted = statistics or Statistics()
    readings = Readings(by_id, extracted)
    results = tuple(
        replace(
            _score(each, record_set.records, readings, training.records if training else (), counted),
            extraction=extractions.get(each.task.name),
        )
        for each in planned
    )
    name = well_formed(model.name)
    result = EvaluationResult(faces, results, seconds, name, len(questions), style.name, limit)
    if folder is not None:
        _write_predictions(folder / PREDICTIONS_NAME, planned, record_set.records, readings)
        result.write(folder / METRICS_NAME)
    return result


def score_task(
    task: Task,
    records: Sequence[FaceRecord],
    answers: Sequence[str],
    training: Sequence[FaceRecord] = (),
    *,
    scores: Sequence[float] | None = None,
    statistics: Statistics = NO_STATISTICS,
) -> TaskResult:
    """Score one task's answers.

    Args:
        task: The task, of one question per record.
        records: The records; those without a label of the task are left out.
        answers: The model's answers, in the order of the records.
        training: Records whose labels choose the baseline's constant answer.
        scores: Per record how strongly the model holds it for positive, for the area under the ROC curve.
        statistics: Bootstrap and permutation settings.

    Raises:
        RecordError: No record has a label of the task.
    """
    indices = [index for index, record in enumerate(records) if task.truth(record.labels) is not None]
    if not indices:
        raise RecordError(
            f"no record has a label of the task '{task.name}'; leave the task out, or label records for it"
        )
    rows = ScoredRows(
        [records[index] for index in indices],
        [task.truth(records[index].labels) for index in indices],
        [task.reading(answers[index]).value for index in indices],
    )
    kept = None if scores is None else [{"": scores[index]} for index in indices]
    return _score_rows(task, rows, kept, training, statistics)


def _score(
    asked: AskedTask,
    records: Sequence[FaceRecord],
    readings: Readings,
    training: Sequence[FaceRecord],
    statistics: Statistics,
) -> TaskResult:
    task, kept = asked.task, [records[index] for index in asked.indices]
    truths = [task.truth(record.labels) for record in kept]
    answered = [
        {item: readings.replies[question_id(record, task, item)] for item in task.questions(truth)}
        for record, truth in zip(kept, truths, strict=True)
    ]
    predictions = [readings.prediction(task, record, truth) for record, truth in zip(kept, truths, strict=True)]
    scores = None
    if task.positive is not None and all(reply.scores for row in answered for reply in row.values()):
        scores = [{item: _margin(reply.scores or {}, task.positive) for item, reply in row.items()} for row in answered]
    unanswered = sum(any(reply.problem for reply in row.values()) for row in answered)
    rows = ScoredRows(kept, truths, predictions, _overconfidences(truths, predictions, answered))
    scored = _score_rows(task, rows, scores, training, statistics, unanswered)
    return replace(scored, labelled=asked.labelled, prompts=asked.prompts(truths))


def _overconfidences(
    truths: Sequence[Any], predictions: Sequence[Any], answered: Sequence[Mapping[str, Reply]]
) -> list[float] | None:
    """Per record the probability of its answers minus the share of them that is right; None without probabilities."""
    if not all(reply.scores for row in answered for reply in row.values()):
        return None
    found = []
    for truth, prediction, row in zip(truths, predictions, answered, strict=True):
        if isinstance(truth, Mapping):
            right = [(prediction or {}).get(item) == truth.get(item) for item in row]
        elif isinstance(truth, (str, bool)):
            right = [prediction == truth]
        else:
            return None
        surest = [confidence_of(reply.scores) for reply in row.values() if reply.scores]
        found.append(fmean(surest) - fmean(right))
    return found


def _margin(scores: Mapping[str, float], positive: str) -> float:
    """Log-probability of the positive option beyond that of the best other one."""
    return scores[positive] - max(value for option, value in scores.items() if option != positive)


def _score_rows(
    task: Task,
    rows: ScoredRows,
    scores: Sequence[Mapping[str, float]] | None,
    training: Sequence[FaceRecord],
    statistics: Statistics,
    unanswered: int = 0,
) -> TaskResult:
    metrics = dict(task.score(rows.truths, rows.predictions))
    clusters = number_clusters([subject_of(record) for record in rows.records])
    seeded = {"resamples": statistics.resamples, "seed": statistics.seed}
    intervals = {}
    if statistics.resamples:
        intervals = bootstrap_intervals(task.weighted(rows.truths, rows.predictions), clusters, **seeded)
    curves = None if scores is None else _weigh_curves(task, rows.truths, scores)
    if curves is not None:
        areas = curves(np.ones((1, len(rows))))
        metrics.update({name: float(area[0]) for name, area in areas.items() if np.isfinite(area[0])})
        if statistics.resamples and areas:
            intervals.update(bootstrap_intervals(curves, clusters, **seeded))
    constant, baseline = _baseline(task, rows.truths, training)
    return TaskResult(
        task=task.name,
        title=task.title,
        question=task.question,
        count=len(rows),
        unanswered=unanswered,
        unreadable=sum(_is_unreadable(prediction) for prediction in rows.predictions),
        headline=task.headline,
        headline_title=task.headline_title,
        higher_is_better=task.higher_is_better,
        metrics=metrics,
        baseline=baseline,
        baseline_answer=constant,
        groups=compare_groups(task, rows, permutations=statistics.permutations, **seeded),
        intervals={name: (found.low, found.high) for name, found in intervals.items() if name in metrics},
        intersections=compare_intersections(task, rows, **seeded),
    )


def _weigh_curves(task: Task, truths: Sequence[Any], scores: Sequence[Mapping[str, float]]) -> WeightedMetrics:
    """The area under the ROC curve of a task, and of each label where these are asked for one by one."""
    if task.ask_each is None:
        return weigh_auc(truths, [score[""] for score in scores])
    return weigh_mean_auc(truths, scores)


def _is_unreadable(prediction: Any) -> bool:
    return prediction is None or (isinstance(prediction, Mapping) and None in prediction.values())


def _baseline(task: Task, truths: Sequence[Any], training: Sequence[FaceRecord]) -> tuple[str | None, dict[str, float]]:
    known = [truth for record in training if (truth := task.truth(record.labels)) is not None]
    if not known:
        return None, {}
    constant = task.constant(known)
    return describe_label(constant), task.score(truths, [constant] * len(truths))


def describe_label(label: Any) -> str:
    """A label in words: ``happiness``, ``AU6, AU12``, ``none``, ``34``, ``manipulated``."""
    if isinstance(label, bool):
        return "manipulated" if label else "genuine"
    if isinstance(label, float):
        return f"{label:g}"
    if isinstance(label, dict):
        label = frozenset(name for name, present in label.items() if present)
    if isinstance(label, (set, frozenset)):
        return ", ".join(sorted(label, key=lambda name: (name.startswith("AU") and len(name), name))) or "none"
    return str(label)


def label_of_words(words: str, truth: Any, item: str = "") -> Any:
    """The label that ``describe_label`` put into words.

    Args:
        words: The words.
        truth: A label of the same kind.
        item: The label that was asked for, where they are asked for one by one; its words are yes and no.
    """
    if item:
        return words == "yes"
    if isinstance(truth, bool):
        return words == describe_label(True)
    if isinstance(truth, Mapping):
        return frozenset() if words == describe_label(frozenset()) else frozenset(words.split(", "))
    return words if isinstance(truth, str) else float(words)


def _write_predictions(
    path: Path, planned: Sequence[AskedTask], records: Sequence[FaceRecord], readings: Readings
) -> None:
    about = [(each.task, frozenset(each.indices)) for each in planned]
    with open_atomically(path) as lines:
        for index, record in enumerate(records):
            for task in (task for task, indices in about if index in indices):
                truth = task.truth(record.labels)
                for item in task.questions(truth):
                    key = question_id(record, task, item)
                    entry = _describe_reply(task, item, truth, readings.replies[key], readings.reading(task, key, item))
                    entry = {"id": record.id, "task": task.name, **entry, "groups": record.groups}
                    lines.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _describe_reply(task: Task, item: str, truth: Any, reply: Reply, reading: Reading[Any]) -> dict[str, Any]:
    scores: dict[str, Any] = {} if reply.scores is None else {"scores": dict(reply.scores)}
    if reply.problem is not None:
        scores["problem"] = reply.problem
    read_by = {} if reply.scores is not None else {"rule": str(reading.rule), "span": reading.span}
    if item and task.parse_item is not None:
        words = {True: "yes", False: "no", None: None}
        named = {"item": item, "answer": reply.text, "prediction": words[reading.value], "truth": words[truth[item]]}
        return {**named, **read_by, **scores}
    shown = None if reading.value is None else describe_label(reading.value)
    return {"answer": reply.text, "prediction": shown, "truth": describe_label(truth), **read_by, **scores}
