"""The sign-off table: what was found about groups in sentences, significant differences first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from facekit.counted import counted
from facekit.evaluation.report.group_results import OVERCONFIDENCE, Disparity, GroupComparison, RateGap
from facekit.evaluation.report.results import DISPARITY_LEVEL, EvaluationResult, TaskResult
from facekit.reports import in_words

_PLURALS = {
    "woman": "women", "women": "women", "female": "women", "man": "men", "men": "men", "male": "men",
    "child": "children", "baby": "babies", "infant": "infants", "teenager": "teenagers", "adult": "adults",
    "senior": "seniors", "girl": "girls", "boy": "boys",
}  # fmt: skip
_WRONG_SHARES = ("accuracy", "mean_accuracy")
_MEANWHILE = re.compile(r"(\w+) \{people\}")
_SMALL = 0.01


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Args:
        task: Name of the task.
        sentence: What was found, worst group first.
        disparity: The numbers behind it.
        is_significant: Whether it is statistically significant.
    """

    task: str
    sentence: str
    disparity: Disparity
    is_significant: bool


def sign_off(result: EvaluationResult, level: float = DISPARITY_LEVEL) -> tuple[Finding, ...]:
    """What every test of a result found, in words.

    Args:
        result: The result.
        level: Greatest probability that any significant difference is a false alarm.

    Returns:
        The significant differences, then, of every other test, the clearest difference, which is not.
    """
    shown: list[Finding] = []
    others: dict[tuple[str, str, str], Disparity] = {}
    for each in result.disparities(level=1.0):
        if each.p_value <= level:
            shown.append(_find(result[each.task], each, is_significant=True))
            continue
        key = (each.task, each.attribute, each.kind)
        if key not in others or each.p_value < others[key].p_value:
            others[key] = each
    told = {(each.disparity.task, each.disparity.attribute, each.disparity.kind) for each in shown}
    rest = [_find(result[key[0]], each, is_significant=False) for key, each in others.items() if key not in told]
    return (*shown, *rest)


def describe_verdict(result: EvaluationResult) -> str:
    """How many comparisons were made, how they were corrected and how many differences are left, in one sentence."""
    if not result.test_count:
        return "There are no groups that are large enough to compare."
    count = len(result.disparities())
    found = f"{count or 'no'} difference{' is' if count == 1 else 's are'} significant"
    tests = f"{counted(result.test_count, 'comparison')} of groups"
    return (
        f"{tests}, p-values adjusted for their number (Holm), so that a report names a difference that is not there in "
        f"at most {DISPARITY_LEVEL:.0%} of cases: {found}."
    )


def people_of(attribute: str, group: str) -> str:
    """The people of a group: "women", "seniors", or "people of skin tone “dark”"."""
    return _PLURALS.get(group.lower()) or f"people of {in_words(attribute)} “{group}”"


def _find(task: TaskResult, each: Disparity, *, is_significant: bool) -> Finding:
    comparison = next(found for found in task.groups if found.attribute == each.attribute)
    gaps = [*comparison.rates, *([comparison.calibration] if comparison.calibration else [])]
    gap = next((gap for gap in gaps if (gap.rate, gap.label) == (each.rate, each.label)), None)
    sentence = _metric_sentence(task, comparison) if gap is None else _rate_sentence(comparison.attribute, gap)
    return Finding(each.task, sentence, each, is_significant)


def _rate_sentence(attribute: str, gap: RateGap) -> str:
    worse, better = people_of(attribute, gap.worse), people_of(attribute, gap.better)
    if not gap.words:
        return f"{gap.rate} of {in_words(gap.label)} is higher by {gap.gap:.3f} for {worse} than for {better}"
    match = _MEANWHILE.search(gap.words)
    preposition = match[1] if match else "for"
    ends = [gap.value_of(name) for name in (gap.worse, gap.better)]
    begun = gap.words.replace("{people}", worse)
    if gap.rate == OVERCONFIDENCE:
        return f"{begun} by {ends[0]:+.3f}, {preposition} {better} by {ends[1]:+.3f}"
    return f"{begun} {_times(ends[0])} of 100 times, {preposition} {better} {_times(ends[1])}"


def _metric_sentence(task: TaskResult, comparison: GroupComparison) -> str:
    names = (comparison.worst or "", comparison.best or "")
    worst, best = (people_of(comparison.attribute, name) for name in names)
    ends = list(_values(comparison, names))
    if task.headline in _WRONG_SHARES:
        times = [_times(1.0 - value) for value in ends]
        return f"answers about {worst} are wrong {times[0]} of 100 times, about {best} {times[1]}"
    digits = 1 if task.headline == "mean_absolute_error" else 3
    return f"{task.headline_title} is {ends[0]:.{digits}f} for {worst}, {ends[1]:.{digits}f} for {best}"


def _values(comparison: GroupComparison, names: tuple[str, str]) -> Iterator[float]:
    for name in names:
        yield next(score.value for score in comparison.scores if score.group == name)


def _times(rate: float) -> str:
    return f"{100 * rate:.1f}" if 0 < rate < _SMALL else f"{100 * rate:.0f}"
