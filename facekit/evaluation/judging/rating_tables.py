"""Ratings, agreement and offline checks as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from facekit.evaluation.judging.explanations import CRITERION_TITLES
from facekit.evaluation.judging.label_checks import AGREES, CONTRADICTS, INCOMPLETE, SILENT, UNCHECKED, LabelCheck
from facekit.evaluation.judging.ratings import JudgeRatings, JudgingResult, RatedPart, RatingScore
from facekit.evaluation.report.tables import make_table


def rating_table(result: JudgingResult) -> Table:
    """One row per judge and task: the mean rating by each criterion with its 95 % interval."""
    title = f"ratings from 1 to 10{f', {result.judged}' if result.judged else ''}"
    table = make_table(title, ("judge", "task"), ("answers", *CRITERION_TITLES))
    for judge in (*result.judges, *([result.panel] if result.panel else [])):
        for index, part in enumerate(judge.tasks):
            table.add_row(judge.judge if index == 0 else "", part.name, str(part.count), *_cells(part))
    return table


def rating_group_table(result: JudgingResult) -> Table:
    """One row per demographic group, of the panel or the only judge."""
    title = f"by group, {result.summary.judge}"
    table = make_table(title, ("groups", "group"), ("answers", *CRITERION_TITLES))
    for part in result.summary.groups:
        count = f"{part.count} (few)" if part.is_small else str(part.count)
        table.add_row(part.attribute.replace("_", " "), part.name, count, *_cells(part))
    return table


def agreement_table(result: JudgingResult) -> Table:
    """Krippendorff's alpha by criterion, then every pair of judges."""
    numbers = ("answers", "alpha (95 %)", "rank correlation", "difference")
    table = make_table("agreement of the judges", ("criterion", "judges"), numbers)
    for each in result.agreement:
        alpha = "undefined" if each.alpha is None else _score(RatingScore(each.alpha, each.low, each.high))
        table.add_row(each.criterion, "all", str(each.count), alpha, "", "")
        for pair in result.pairs:
            if pair.criterion == each.criterion:
                rank = "undefined" if pair.spearman is None else f"{pair.spearman:.2f}"
                table.add_row("", f"{pair.first} / {pair.second}", str(pair.count), "", rank, f"{pair.difference:+.2f}")
    return table


def label_check_table(checks: Sequence[LabelCheck]) -> Table:
    """One row per task: shares of the answers that agree with the label, contradict it, or do not name it."""
    outcomes = (AGREES, INCOMPLETE, CONTRADICTS, SILENT, UNCHECKED)
    table = make_table("offline: labels named, no ratings", ("task",), ("answers", *outcomes))
    for check in checks:
        table.add_row(check.task, str(check.count), *(f"{check.share(outcome):.3f}" for outcome in outcomes))
    return table


def describe_unrated(judge: JudgeRatings, most: int = 3) -> str:
    """How many answers a judge left unrated and the commonest reasons, or nothing where it rated all."""
    if not judge.unrated:
        return ""
    reasons = sorted(judge.unrated.items(), key=lambda entry: (-entry[1], entry[0]))[:most]
    return f"{judge.judge}: {sum(judge.unrated.values())} without a rating: " + "; ".join(
        f"{reason} ({count})" for reason, count in reasons
    )


def _cells(part: RatedPart) -> list[str]:
    return [_score(part.scores[name]) if name in part.scores else "" for name in CRITERION_TITLES]


def _score(score: RatingScore) -> str:
    ends = "" if score.low is None or score.high is None else f" ({score.low:.2f} to {score.high:.2f})"
    return f"{score.mean:.2f}{ends}"
