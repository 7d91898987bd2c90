"""Results as files for other programs: CSV with every number, and LaTeX in the form of the papers' tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from facekit.evaluation.report.results import EvaluationResult
from facekit.evaluation.report.tables import format_metric

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
CSV_COLUMNS = ("model", "task", "attribute", "group", "metric", "value", "low", "high", "count")
_LATEX_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
                  **{mark: rf"\{mark}" for mark in "&%$#_{}"}}  # fmt: skip


def to_csv(results: Sequence[EvaluationResult]) -> str:
    """Every metric of every model, overall and by group, one a line; see ``CSV_COLUMNS``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for result in results:
        for task in result.tasks:
            for name, value in task.metrics.items():
                low, high = task.intervals.get(name, ("", ""))
                writer.writerow([*map(_plain, (result.model, task.task, "", "", name)), value, low, high, task.count])
            for comparison in (*task.groups, *task.intersections):
                for score in comparison.scores:
                    ends = ("" if score.low is None else score.low, "" if score.high is None else score.high)
                    words = (result.model, task.task, comparison.attribute, score.group, task.headline)
                    writer.writerow([*map(_plain, words), score.value, *ends, score.count])
    return text.getvalue()


def to_latex(results: Sequence[EvaluationResult]) -> str:
    """One table in the papers' form: a row per model, a column per task, UAR / WAR for expressions; best in bold."""
    tasks = list(dict.fromkeys(task.task for result in results for task in result.tasks))
    found = [{task.task: task for task in result.tasks} for result in results]
    titles = {task.task: task for result in results for task in result.tasks}
    best = {}
    for name in tasks:
        scores = [tasks_of[name].score for tasks_of in found if name in tasks_of]
        best[name] = max(scores) if titles[name].higher_is_better else min(scores)
    lines = [f"% {each.title}: a sample of {each.sample_words} faces" for each in titles.values() if each.sample_words]
    lines += [rf"\begin{{tabular}}{{l{'c' * len(tasks)}}}", r"\toprule"]
    heads = [f"{titles[name].title} ({_metric_title(name, titles[name].headline_title)})" for name in tasks]
    lines += [" & ".join(["model", *map(_escape, heads)]) + r" \\", r"\midrule"]
    for result, tasks_of in zip(results, found, strict=True):
        cells = []
        for name in tasks:
            task = tasks_of.get(name)
            if task is None:
                cells.append("--")
                continue
            shown = format_metric(task, task.score)
            if name == "expression":
                shown = f"{task.metrics['uar']:.3f} / {task.metrics['war']:.3f}"
            cells.append(rf"\textbf{{{shown}}}" if task.score == best[name] and len(results) > 1 else shown)
        lines.append(" & ".join([_escape(result.model), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _plain(text: str) -> str:
    """A cell that a spreadsheet takes for text: groups and models are named by others, who might write a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _metric_title(task: str, headline: str) -> str:
    return "UAR / WAR" if task == "expression" else headline


def _escape(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(mark, mark) for mark in text)
