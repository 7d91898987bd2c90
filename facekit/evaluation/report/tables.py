"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from facekit.counted import counted
from facekit.evaluation.benchmarks.facexbench import COLUMNS, FaceXBenchResult, published_rows, table_row
from facekit.evaluation.metrics.comparison import PairedDifference
from facekit.evaluation.report.group_results import Disparity
from facekit.evaluation.report.results import DISPARITY_LEVEL, EvaluationResult, TaskResult
from facekit.evaluation.report.sign_off import describe_verdict, sign_off
from facekit.reports import format_p_value, in_words


class _WordTable(Table):
    """A table that takes no cell for markup: groups and models are named by others."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(escape(cell) if isinstance(cell, str) else cell for cell in cells), **options)


_SHOWN = {"uar": "UAR", "war": "WAR", "auc": "AUC"}


def metric_table(result: EvaluationResult) -> Table:
    """One row per task: the headline metric with its interval, the baseline's, and the answers that were unreadable."""
    table = make_table(
        result.model or counted(result.faces, "face"), ("task", "metric"), ("model", "95 %", "baseline", "unreadable")
    )
    for task in result.tasks:
        for name, value in task.metrics.items():
            if name == task.headline or name in _SHOWN:
                baseline = task.baseline.get(name)
                is_headline = name == task.headline
                table.add_row(
                    _sampled(task) if is_headline else "",
                    task.headline_title if is_headline else _SHOWN[name],
                    format_metric(task, value),
                    format_interval(task, *task.intervals.get(name, (None, None))),
                    "" if baseline is None else format_metric(task, baseline),
                    task.unreadable_words if is_headline else "",
                )
    return table


def _sampled(task: TaskResult) -> str:
    """A task's title; of a sample, also how many faces it is of how many."""
    return f"{task.title} ({task.sample_words})" if task.sample_words else task.title


def group_table(result: EvaluationResult) -> Table:
    """One row per task and group attribute: the worst group, the best one, the gap, and groups that are too small."""
    table = make_table(
        "by group", ("task", "groups", "worst", "best"), ("gap", "95 %", "equalised odds"), ("too small",)
    )
    for task in result.tasks:
        for comparison in task.groups:
            values = {score.group: format_metric(task, score.value) for score in comparison.scores}
            table.add_row(
                task.title,
                comparison.attribute.replace("_", " "),
                "" if comparison.worst is None else f"{comparison.worst} {values[comparison.worst]}",
                "" if comparison.best is None else f"{comparison.best} {values[comparison.best]}",
                "" if comparison.gap is None else format_metric(task, comparison.gap),
                format_interval(task, comparison.gap_low, comparison.gap_high),
                "" if comparison.odds is None else f"{comparison.odds.gap:.3f}",
                ", ".join(comparison.too_small),
            )
    return table


def disparity_table(result: EvaluationResult) -> Table:
    """The significant differences between groups; a table without rows where there are none."""
    disparities = result.disparities()
    title = f"disparities (family-wise error at most {DISPARITY_LEVEL:.0%})"
    if not disparities:
        compared = any(comparison.worst is not None for task in result.tasks for comparison in task.groups)
        title = f"disparities: {'none found' if compared else 'no groups that are large enough to compare'}"
    table = make_table(title, ("task", "groups", "what", "worst", "best"),
                   ("gap", "95 %", "p"))  # fmt: skip
    for each in disparities:
        task = result[each.task]
        kind = task.headline_title if each.kind == "metric" else describe_rate(each)
        gap = format_metric(task, each.value) if each.kind == "metric" else f"{each.value:.3f}"
        ends = format_interval(task, each.low, each.high)
        attribute = each.attribute.replace("_", " ")
        table.add_row(task.title, attribute, kind, each.worst, each.best, gap, ends, format_p_value(each.p_value))
    return table


def sign_off_table(result: EvaluationResult) -> Table:
    """What was found about groups in sentences, one row per comparison; significant differences come first."""
    table = make_table(
        f"disparities: {describe_verdict(result)}", ("task", "finding", "difference"), ("95 % of the gap", "p")
    )
    for found in sign_off(result):
        task, each = result[found.task], found.disparity
        ends = format_gap_interval(task, each)
        verdict = "significant" if found.is_significant else "not significant"
        table.add_row(task.title, found.sentence, verdict, ends, format_p_value(each.p_value))
    return table


def describe_rate(each: Disparity) -> str:
    """A disparity's rate and label, such as "false positive rate of manipulated"."""
    return f"{each.rate} of {in_words(each.label)}" if each.label else each.rate


def format_gap_interval(task: TaskResult, each: Disparity) -> str:
    """Both ends of the interval of a gap, or nothing where there are none."""
    if each.kind == "metric":
        return format_interval(task, each.low, each.high)
    return "" if each.low is None or each.high is None else f"{each.low:.3f} to {each.high:.3f}"


def comparison_table(differences: Sequence[PairedDifference]) -> Table:
    """One row per task and pair of models."""
    table = make_table("models in pairs", ("task", "metric", "first", "second"), ("difference", "95 %", "p", "McNemar"))
    for each in differences:
        mcnemar = "" if each.mcnemar is None else format_p_value(each.mcnemar)
        ends = f"{each.low:+.3f} to {each.high:+.3f}"
        table.add_row(
            each.task,
            each.metric,
            each.first,
            each.second,
            f"{each.difference:+.3f}",
            ends,
            format_p_value(each.p_value),
            mcnemar,
        )
    return table


def facexbench_tables(result: FaceXBenchResult) -> tuple[Table, Table]:
    """The papers' table with this model's rows by both rules, and the model by sub-category and number of images."""
    asked = result.published.overall.count
    sample = "" if result.available <= asked else f", a sample of {sampled(asked, result.available)} questions"
    title = f"FaceXBench, {result.setting}, accuracy in percent{sample}"
    layout = make_table(title, ("model",), tuple(COLUMNS.values()))
    rows = [(f"{row['model']} [{row['source']}]", row) for row in published_rows()]
    rows += [
        (f"{result.model} ({rule} rule)", dict(table_row(board)))
        for rule, board in (("published", result.published), ("strict", result.strict))
    ]
    for name, row in rows:
        layout.add_row(name, *(f"{row[column]:.2f}" if column in row else "" for column in COLUMNS))
    boards = (result.published, result.strict)
    detail = make_table("in detail", ("questions",), ("count", "published rule", "strict rule"))
    for part in ("by_sub_category", "by_images"):
        for name, share in getattr(boards[0], part).items():
            strict = getattr(boards[1], part)[name]
            detail.add_row(name, str(share.count), f"{share.accuracy:.2f}", f"{strict.accuracy:.2f}")
    overall = [f"{board.overall.accuracy:.2f} ({board.low:.2f} to {board.high:.2f})" for board in boards]
    detail.add_row("overall (95 %)", str(boards[0].overall.count), *overall)
    detail.add_row("no option found", "", *(str(board.unreadable) for board in boards))
    return layout, detail


def format_metric(task: TaskResult, value: float) -> str:
    """Years with one digit after the point, shares with three."""
    return f"{value:.1f}" if task.headline == "mean_absolute_error" else f"{value:.3f}"


def format_interval(task: TaskResult, low: float | None, high: float | None) -> str:
    """Both ends, or nothing where there are none."""
    return "" if low is None or high is None else f"{format_metric(task, low)} to {format_metric(task, high)}"


def sampled(count: int, available: int) -> str:
    """A number, and of how many where those are more: ``200 of 5,000``."""
    return f"{count:,} of {available:,}" if available > count else f"{count:,}"


def make_table(title: str, words: Sequence[str], numbers: Sequence[str], last: Sequence[str] = ()) -> Table:
    """A table without rows whose numbers stand at the right, and whose words are as they are, in brackets too.

    Args:
        title: Its title.
        words: Headings of the first columns.
        numbers: Headings of the columns with numbers behind them.
        last: Headings of the columns with words behind those.
    """
    table = _WordTable(title=escape(title), title_justify="left")
    for name in words:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    for name in last:
        table.add_column(name)
    return table
