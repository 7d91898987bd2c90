"""A leaderboard over several runs: models in rows, what they were measured on in columns, the best of each marked.

It is made of the files that ``facekit eval`` and ``facekit bench`` leave in a folder. A cell is empty where a model was
not measured; models are only compared within a column, because sets and questions differ between columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facekit.counted import counted
from facekit.data.atomic import write_text_atomically
from facekit.errors import CheckpointError, RecordError
from facekit.evaluation.report.results import EvaluationResult
from facekit.evaluation.report.sections import short_name
from facekit.reports import Cell, Section, Table, render_page

LEADERBOARD_NAME = "leaderboard.html"
_TEMPLATE = "evaluation/report/benchmark.html.jinja"
_COUNTS = ("presentations", "pairs", "problems", "questions")
_FILES = ("metrics.json", "verification.json", "attacks.json")


@dataclass(frozen=True)
class Standing:
    """One number of one model.

    Args:
        model: Name of the model.
        column: What was measured, such as "Expression, accuracy".
        value: The number.
        low: Lower end of its 95 % interval; None where none was computed.
        high: Upper end.
        higher_is_better: Whether it grows with quality.
    """

    model: str
    column: str
    value: float
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True


def read_standings(folder: str | Path) -> list[Standing]:
    """What a run left in a folder.

    Args:
        folder: The ``--output`` of ``facekit eval`` or ``facekit bench``.

    Raises:
        RecordError: The folder has no results, or a file of it cannot be read.
    """
    paths = [path for name in _FILES if (path := Path(folder) / name).is_file()]
    found: list[Standing] = []
    for path in paths:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found += _of_tasks(EvaluationResult.read(path)) if "tasks" in values else _of_benchmark(values)
        except (OSError, ValueError, KeyError, TypeError, IndexError, CheckpointError) as error:
            raise RecordError(f"{path} is no result of facekit eval or bench ({error})") from error
    if not found:
        raise RecordError(f"{folder} has no results; give what was --output of facekit eval or facekit bench")
    return found


def leaderboard_table(standings: Sequence[Standing]) -> Table:
    """Models in rows, with the best number of each column marked; several runs of one model in one row.

    Args:
        standings: Of all runs; where a model has two numbers in a column, the later one stands.
    """
    columns = list(dict.fromkeys(each.column for each in standings))
    cells = {(each.model, each.column): each for each in standings}
    models = list(dict.fromkeys(each.model for each in standings))
    names = _names(models)
    best = {column: _best([each for each in cells.values() if each.column == column]) for column in columns}
    rows: list[list[Cell | str]] = [
        [names[model], *(_cell(cells.get((model, column)), best[column]) for column in columns)] for model in models
    ]
    return Table.of("leaderboard", ["model"], columns, rows)


def write_leaderboard(folder: str | Path, runs: Sequence[str | Path]) -> Path:
    """Write ``leaderboard.html``.

    Args:
        folder: Where to write.
        runs: Folders of runs, see ``read_standings``.

    Returns:
        The page's path.

    Raises:
        RecordError: A folder has no results.
    """
    table = leaderboard_table([standing for run in runs for standing in read_standings(run)])
    section = Section("leaderboard", "Leaderboard")
    page = render_page(
        _TEMPLATE,
        kind="evaluation",
        title="Models compared",
        contents=[section],
        sections=[(section, table)],
        note="The best of each column is in bold; below a number is its 95 % interval. ↓: lower is better.",
        source="Every answer lies in the folder of its run.",
    )
    return write_text_atomically(Path(folder) / LEADERBOARD_NAME, page)


def _of_tasks(result: EvaluationResult) -> Iterator[Standing]:
    for task in result.tasks:
        low, high = task.intervals.get(task.headline, (None, None))
        sample = f", {task.sample_words} faces" if task.sample_words else ""
        column = f"{task.title}, {task.headline_title}{sample}"
        yield Standing(result.model, column, task.score, low, high, task.higher_is_better)


def _of_benchmark(values: Mapping[str, Any]) -> Iterator[Standing]:
    asked = values["published"]["overall"]["count"] if "published" in values else 0
    asked = asked or next((values[name] for name in _COUNTS if name in values), 0)
    sample = f", {asked:,} of {values['available']:,}" if values.get("available", 0) > asked else ""
    return (replace(each, column=each.column + sample) for each in _standings(values))


def _standings(values: Mapping[str, Any]) -> Iterator[Standing]:
    model = str(values["model"])
    if "published" in values:
        board = values["published"]
        share = board["overall"]["right"] / max(1, board["overall"]["count"])
        column = f"FaceXBench, {values['setting']}, accuracy"
        yield Standing(model, column, share, board["low"] / 100, board["high"] / 100)
    elif "presentations" in values:
        for name, title in (("worst_apcer", "worst APCER"), ("bpcer", "BPCER"), ("acer", "ACER")):
            if values.get(name) is not None:
                yield Standing(model, f"{values['benchmark']}, {title}", values[name], higher_is_better=False)
    elif "pairs" in values:
        for name, title, is_up in (("accuracy", "accuracy", True), ("equal_error_rate", "EER", False)):
            rate = values.get(name)
            if rate is not None:
                column = f"{values['benchmark']}, {title}"
                yield Standing(model, column, rate["value"], rate["low"], rate["high"], is_up)
    elif "sets" in values:
        yield Standing(
            model, f"MER-UniBench, {values['setting']}, mean of {counted(len(values['sets']), 'set')}", values["mean"]
        )
    elif "by_pattern" in values:
        yield Standing(model, f"Face-Human-Bench, {values['setting']}, accuracy", values["scores"][0]["accuracy"])
    else:
        headlines = {"TFQ": "accuracy", "SCQ": "accuracy", "MCQ": "f1_macro", "OEQ": "rougeL"}
        for score in values["scores"]:
            metric = headlines[score["question_type"]]
            if not score["view"] and metric in score["metrics"]:
                yield Standing(model, f"FaceBench {score['question_type']}, {metric}", score["metrics"][metric])


def _best(column: Sequence[Standing]) -> float | None:
    if len(column) < 2:
        return None
    values = [each.value for each in column]
    return max(values) if column[0].higher_is_better else min(values)


def _cell(standing: Standing | None, best: float | None) -> Cell | str:
    if standing is None:
        return ""
    digits = 1 if abs(standing.value) > 1 else 3
    ends = (standing.low, standing.high)
    note = "" if None in ends else f"{standing.low:.{digits}f} to {standing.high:.{digits}f}"
    arrow = "" if standing.higher_is_better else "\N{NO-BREAK SPACE}↓"
    return Cell(f"{standing.value:.{digits}f}{arrow}", note, "good" if standing.value == best else "")


def _names(models: Sequence[str]) -> dict[str, str]:
    """Short names of models; where two would be the same, all are whole."""
    short = [short_name(model) or "A model without a name" for model in models]
    return dict(zip(models, short if len(set(short)) == len(short) else models, strict=True))
