"""Results of Face-Human-Bench, FaceBench and MER-UniBench as tables for a terminal and a page."""

from __future__ import annotations

from rich.table import Table

from facekit.evaluation.benchmarks.face_human_bench import FaceHumanBenchResult
from facekit.evaluation.benchmarks.facebench import HEADLINES, TYPES, FaceBenchResult
from facekit.evaluation.benchmarks.mer_unibench import MerUniBenchResult
from facekit.evaluation.report.tables import make_table, sampled

_DETAILS = ("precision", "recall", "accuracy")


def face_human_bench_tables(result: FaceHumanBenchResult) -> list[Table]:
    """The tree of abilities, and how answers were read."""
    problems = sampled(result.problems, result.available)
    sample = f", a sample of {problems}" if result.available > result.problems else ""
    tree = make_table(
        f"Face-Human-Bench, {result.setting}, accuracy in percent{sample}", ("ability",), ("all", "without refusals")
    )
    for score in result.scores:
        answered = "" if score.answered_accuracy is None else f"{100 * score.answered_accuracy:.1f}"
        tree.add_row(score.name.replace("/", " / ") or "overall", f"{100 * score.accuracy:.1f}", answered)
    reading = make_table("how answers were read", ("answers",), ("count",))
    reading.add_row("in all", problems)
    reading.add_row("by the published patterns", f"{result.by_pattern:,}")
    reading.add_row("matching no option", f"{result.refused:,}")
    if result.missing:
        reading.add_row("subsets that are not there: " + ", ".join(result.missing), f"{len(result.missing)}")
    return [tree, reading]


def facebench_tables(result: FaceBenchResult) -> list[Table]:
    """Every type of question over all views and by view."""
    table = make_table(
        f"FaceBench, {sampled(result.questions, result.available)} questions",
        ("view", "questions", "metric"),
        ("value", "with conditions", "answered", "unanswered"),
    )
    for score in result.scores:
        table.add_row(
            score.view or "all",
            TYPES[score.question_type],
            HEADLINES[score.question_type].replace("_", " "),
            f"{score.headline:.3f}" if score.count else "",
            f"{score.conditional:.3f}",
            f"{score.count:,}",
            f"{score.missed:,}",
        )
    return [table]


def mer_unibench_tables(result: MerUniBenchResult) -> list[Table]:
    """Every set with its main metric, their mean, and how answers were read."""
    table = make_table(
        f"MER-UniBench, {result.setting}, {sampled(result.questions, result.available)} clips",
        ("set", "metric"),
        ("value", "precision", "recall", "accuracy", "clips", "unanswered", "nothing read"),
    )
    for score in result.sets:
        details = [f"{score.details[name]:.3f}" if name in score.details else "" for name in _DETAILS]
        counts = (f"{score.count:,}", f"{score.unanswered:,}", f"{score.unread:,}")
        table.add_row(score.title, score.metric, f"{score.value:.3f}", *details, *counts)
    table.add_row(f"mean of {len(result.sets)}", "", f"{result.mean:.3f}", *[""] * 6)
    reading = make_table("how answers were read", ("words of emotion and sentiments",), ())
    reading.add_row(f"by {result.extractor}" if result.extractor else "by rules; sentiments were asked for")
    if result.missing:
        reading.add_row("sets that are not there: " + ", ".join(result.missing))
    return [table, reading]
