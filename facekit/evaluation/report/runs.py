"""A saved evaluation, and the confusions and errors in its predictions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.errors import RecordError
from facekit.evaluation.report.results import EvaluationResult, TaskResult

ERRORS_PER_TASK = 12
UNREADABLE = "unreadable"
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
            lines = path.read_text(encoding="utf-8").split("\n")
            return cls(result, tuple(json.loads(line) for line in lines if line.strip()))
        except (OSError, ValueError) as error:
            raise RecordError(f"{path} cannot be read ({error}); evaluate the model again") from error


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
    return bool(entry["prediction"] != entry["truth"])
