"""The report: tables, groups, confusions and errors with their pictures, as one page that needs nothing else.

Here numbers and pictures are put into the words of the page; how it looks is in ``report.html`` beside this file.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from facekit import __version__
from facekit.data.atomic import write_text_atomically
from facekit.data.dataset import RecordSet, open_frames
from facekit.data.records import FaceRecord
from facekit.errors import RecordError
from facekit.evaluation.judging.explanations import CRITERION_TITLES
from facekit.evaluation.judging.ratings import JudgingResult
from facekit.evaluation.metrics.calibration import measure_calibration
from facekit.evaluation.metrics.comparison import PairedDifference
from facekit.evaluation.report.exports import to_csv, to_latex
from facekit.evaluation.report.results import EvaluationResult, GroupComparison, TaskResult
from facekit.evaluation.report.tables import format_interval, format_metric

REPORT_NAME, CSV_NAME, LATEX_NAME = "report.html", "metrics.csv", "metrics.tex"
ERRORS_PER_TASK = 12
THUMBNAIL = 160
UNREADABLE = "unreadable"
_MOST_CLASSES = 12
_FAR_IN_YEARS = 10.0


@dataclass(frozen=True)
class Run:
    """A model's evaluation with its predictions.

    Args:
        result: The numbers.
        predictions: Entries of ``predictions.jsonl``.
    """

    result: EvaluationResult
    predictions: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Read what ``evaluate_model`` left in a folder; raises ``CheckpointError`` or ``RecordError``."""
        result = EvaluationResult.read(Path(folder) / "metrics.json")
        path = Path(folder) / "predictions.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            return cls(result, tuple(json.loads(line) for line in lines if line.strip()))
        except (OSError, ValueError) as error:
            raise RecordError(f"{path} cannot be read ({error}); evaluate the model again") from error


def write_report(
    folder: str | Path,
    records: RecordSet | str | Path,
    runs: Sequence[Run],
    differences: Sequence[PairedDifference] = (),
    ratings: Sequence[JudgingResult] = (),
) -> Path:
    """Write ``report.html``, ``metrics.csv`` and ``metrics.tex``.

    Args:
        folder: Where to write.
        records: The records that were evaluated on; their pictures are shown beside errors.
        runs: The models; the first is the one whose errors and groups are shown in detail.
        differences: Paired comparisons of the models.
        ratings: What judges said of explanations.

    Returns:
        The page's path.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    folder, record_set = Path(folder), RecordSet.of(records)
    faces = {record.id: record for record in record_set.records}
    results = [run.result for run in runs]
    environment = Environment(
        loader=PackageLoader("facekit.evaluation.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["short"] = _shorten
    first = runs[0]
    page = environment.get_template(REPORT_NAME).render(
        version=__version__,
        results=results,
        scores=_score_rows(results),
        differences=differences,
        criteria=CRITERION_TITLES,
        ratings=ratings,
        disparities=[_describe_disparity(first.result, each) for each in first.result.disparities()],
        tasks=[_describe_task(task, first, faces, record_set) for task in first.result.tasks],
    )
    write_text_atomically(folder / CSV_NAME, to_csv(results))
    write_text_atomically(folder / LATEX_NAME, to_latex(results))
    return write_text_atomically(folder / REPORT_NAME, page)


def confusion(entries: Iterable[dict[str, Any]]) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Count truths against predictions.

    Args:
        entries: Predictions with ``truth`` and ``prediction``, both in words; a prediction of None is unreadable.

    Returns:
        Column names, the predictions; and per truth its name and the counts.
    """
    counts = Counter((entry["truth"], entry["prediction"] or UNREADABLE) for entry in entries)
    truths = sorted({truth for truth, _ in counts})
    others = sorted({prediction for _, prediction in counts} - {*truths, UNREADABLE})
    columns = [*truths, *others, *([UNREADABLE] if any(name == UNREADABLE for _, name in counts) else [])]
    return columns, [(truth, [counts[truth, column] for column in columns]) for truth in truths]


def find_errors(
    entries: Sequence[dict[str, Any]], task: TaskResult, most: int = ERRORS_PER_TASK
) -> list[dict[str, Any]]:
    """Choose errors to show: for ages those of ten years and more, in turns over truth and groups, so that none hides.

    Args:
        entries: The task's predictions.
        task: Its result.
        most: How many to choose.
    """
    wrong = [entry for entry in entries if _is_wrong(entry, task)]
    kinds: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for entry in wrong:
        truth = "" if task.task == "age" else entry["truth"]
        kinds.setdefault((truth, *sorted(entry["groups"].items())), []).append(entry)
    chosen: list[dict[str, Any]] = []
    while len(chosen) < min(most, len(wrong)):
        for entries_of_kind in kinds.values():
            if entries_of_kind and len(chosen) < most:
                chosen.append(entries_of_kind.pop(0))
    return chosen


def _is_wrong(entry: dict[str, Any], task: TaskResult) -> bool:
    if entry["prediction"] is None:
        return True
    if task.task == "age":
        return abs(float(entry["truth"]) - float(entry["prediction"])) >= _FAR_IN_YEARS
    return entry["prediction"] != entry["truth"]


def _shorten(name: str) -> str:
    """The last two parts of a model's folder; other names as they are."""
    path = PurePath(name)
    return "/".join(path.parts[-2:]) if path.is_absolute() or len(path.parts) > 3 else name


def _score_rows(results: Sequence[EvaluationResult]) -> list[dict[str, Any]]:
    rows = []
    for name in dict.fromkeys(task.task for result in results for task in result.tasks):
        found = [next((task for task in result.tasks if task.task == name), None) for result in results]
        task = next(each for each in found if each is not None)
        for metric in (task.headline, "uar", "war", "auc"):
            if metric in task.metrics:
                baseline = task.baseline.get(metric)
                rows.append(
                    {
                        "title": task.title if metric == task.headline else "",
                        "metric": task.headline_title if metric == task.headline else metric.upper(),
                        "lower": not task.higher_is_better,
                        "cells": [None if each is None else _cell(each, metric) for each in found],
                        "baseline": "–" if baseline is None else format_metric(task, baseline),
                        "unreadable": "" if metric != task.headline else f"{task.unreadable} of {task.count}",
                    }
                )
    return rows


def _cell(task: TaskResult, metric: str) -> tuple[str, str]:
    if metric not in task.metrics:
        return "–", ""
    return format_metric(task, task.metrics[metric]), format_interval(task, *task.intervals.get(metric, (None, None)))


def _describe_disparity(result: EvaluationResult, disparity: Any) -> dict[str, str]:
    task = result[disparity.task]
    is_metric = disparity.kind == "metric"
    return {
        "task": task.title,
        "attribute": disparity.attribute.replace("_", " "),
        "what": task.headline_title if is_metric else "equalised odds",
        "groups": f"{disparity.worst} against {disparity.best}",
        "gap": format_metric(task, disparity.value) if is_metric else f"{disparity.value:.3f}",
        "interval": format_interval(task, disparity.low, disparity.high),
        "p": f"{disparity.p_value:.4f}",
    }


def _describe_task(task: TaskResult, run: Run, faces: dict[str, FaceRecord], records: RecordSet) -> dict[str, Any]:
    entries = [entry for entry in run.predictions if entry["task"] == task.task]
    single = task.task not in ("age", "action_units", "attributes") and not any("item" in entry for entry in entries)
    columns, rows = confusion(entries) if single else ([], [])
    if len(rows) > _MOST_CLASSES:
        columns, rows = [], []
    return {
        "title": task.title,
        "question": task.question,
        "metric": task.headline_title,
        "columns": columns,
        "confusion": [(truth, [(count, count / max(1, sum(counts))) for count in counts]) for truth, counts in rows],
        "calibration": measure_calibration(entries),
        "groups": [_describe_groups(task, comparison) for comparison in task.groups],
        "intersections": [_describe_groups(task, comparison) for comparison in task.intersections],
        "errors": [
            {**entry, "picture": _thumbnail(faces[entry["id"]], records)}
            for entry in find_errors(entries, task)
            if entry["id"] in faces
        ],
        "parts": [
            (name.partition("_")[2].replace("_", " "), format_metric(task, value),
             format_interval(task, *task.intervals.get(name, (None, None))))
            for name, value in task.metrics.items()
            if name.startswith(("f1_", "accuracy_"))
        ],
    }  # fmt: skip


def _describe_groups(task: TaskResult, comparison: GroupComparison) -> dict[str, Any]:
    """A comparison as rows of a dot plot: places in percent of the axis, which holds every interval."""
    ends = [end for score in comparison.scores for end in (score.value, score.low, score.high) if end is not None]
    low, high = min(ends), max(ends)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin

    def place(value: float | None, otherwise: float) -> float:
        return round(100 * ((otherwise if value is None else value) - low) / (high - low), 2)

    odds = comparison.odds
    return {
        "attribute": comparison.attribute.replace("_", " "),
        "rows": [
            {
                "name": score.group,
                "count": score.count,
                "value": format_metric(task, score.value),
                "interval": format_interval(task, score.low, score.high),
                "at": place(score.value, score.value),
                "from": place(score.low, score.value),
                "to": place(score.high, score.value),
                "small": score.is_small,
                "worst": score.group == comparison.worst and bool(comparison.gap),
            }
            for score in comparison.scores
        ],
        "gap": "" if comparison.gap is None else format_metric(task, comparison.gap),
        "interval": format_interval(task, comparison.gap_low, comparison.gap_high),
        "odds": "" if odds is None else f"{odds.value:.3f} ({odds.rate} of {odds.label}: {odds.higher}, {odds.lower})",
    }


def _thumbnail(record: FaceRecord, records: RecordSet) -> str:
    frames = open_frames(record, records.folder)
    picture = frames[len(frames) // 2].image.convert("RGB")
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
