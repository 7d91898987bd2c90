"""Results as tables for a terminal; whoever prints chooses the console."""

from __future__ import annotations

from rich.table import Table

from facekit.evaluation.results import EvaluationResult, TaskResult


def metric_table(result: EvaluationResult) -> Table:
    """One row per task: the headline metric, the baseline's, and how many answers could not be read."""
    table = Table(title=f"{result.faces} faces", title_justify="left")
    for name in ("task", "metric"):
        table.add_column(name)
    for name in ("model", "baseline", "unreadable"):
        table.add_column(name, justify="right")
    for task in result.tasks:
        for name, value in task.metrics.items():
            if name == task.headline or name == "uar":
                title = task.headline_title if name == task.headline else "UAR"
                baseline = task.baseline.get(name)
                table.add_row(
                    task.title if name == task.headline else "",
                    title,
                    format_metric(task, value),
                    "" if baseline is None else format_metric(task, baseline),
                    f"{task.unreadable} of {task.count}" if name == task.headline else "",
                )
    return table


def group_table(result: EvaluationResult) -> Table:
    """One row per task and group attribute: the worst group, the best one, and the gap between them."""
    table = Table(title="by group", title_justify="left")
    for name in ("task", "groups", "worst", "best"):
        table.add_column(name)
    table.add_column("gap", justify="right")
    for task in result.tasks:
        for comparison in task.groups:
            if comparison.gap is not None:
                values = {score.group: format_metric(task, score.value) for score in comparison.scores}
                table.add_row(
                    task.title,
                    comparison.attribute.replace("_", " "),
                    f"{comparison.worst} {values[comparison.worst or '']}",
                    f"{comparison.best} {values[comparison.best or '']}",
                    format_metric(task, comparison.gap),
                )
    return table


def format_metric(task: TaskResult, value: float) -> str:
    """Years with one digit after the point, shares with three."""
    return f"{value:.1f}" if task.headline == "mean_absolute_error" else f"{value:.3f}"
