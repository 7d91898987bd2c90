"""Contradictions between an answer and the known label.

Answers are read by the parsers of the registered tasks, which are found by name, so a task of one's own is checked
too. An answer that names no label, or several, contradicts nothing: only a clear other label does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from facekit.catalog import current_registry
from facekit.data.records import FaceRecord

AGE_TOLERANCE = 10.0
"""Years by which an answered age may differ from the label, or from the nearer end of its group."""

_STEM = 3

_GENDERS = {
    "man": r"\b(?:man|men|male|boy|gentleman|he|him|his|himself)\b",
    "woman": r"\b(?:woman|women|female|girl|lady|she|her|hers|herself)\b",
}
_SAME = {"male": "man", "female": "woman", "boy": "man", "girl": "woman", "m": "man", "f": "woman"}


def find_contradiction(answer: str, record: FaceRecord, checks: tuple[str, ...]) -> str | None:
    """Compare an answer with the labels.

    Args:
        answer: The answer.
        record: The record, with its labels and groups.
        checks: Tasks, ``gender`` and ``age_group``; those that the record has no label for are passed over.

    Returns:
        What contradicts what, or None.
    """
    for check in checks:
        problem = _check(answer, record, check)
        if problem is not None:
            return problem
    return None


def _check(answer: str, record: FaceRecord, check: str) -> str | None:
    if check == "gender":
        known = record.groups.get("gender", "").lower()
        known = _SAME.get(known, known)
        named = {name for name, words in _GENDERS.items() if re.search(words, answer, re.IGNORECASE)}
        wrong = known in _GENDERS and len(named) == 1 and known not in named
        return f"the answer speaks of a {named.pop()}, the label is {known}" if wrong else None
    if check == "age_group":
        return _check_age_group(answer, record.groups.get("age_group", ""))
    task = current_registry().load("task", check)
    truth = task.truth(record.labels)
    said = None if truth is None else task.parse(answer)
    if said is None or (isinstance(said, str) and not _is_named(said, answer)):
        return None
    return _difference(check, truth, said)


def _is_named(label: str, answer: str) -> bool:
    """Whether an answer has a label's own word, in whatever form: a long answer's "relaxed brows" name no label."""
    return bool(re.search(rf"\b{label[:_STEM]}", answer, re.IGNORECASE))


def _difference(check: str, truth: Any, said: Any) -> str | None:
    if isinstance(truth, Mapping):
        wrong = sorted(name for name in said if truth.get(name) is False)
        return f"the answer names {', '.join(wrong)}, which the labels deny" if wrong else None
    if isinstance(truth, float):
        if abs(truth - said) <= AGE_TOLERANCE:
            return None
        return f"the answer says {check} {said:g}, the label is {truth:g}"
    if truth == said:
        return None
    return f"the answer says {check} {said}, the label is {truth}"


def _check_age_group(answer: str, group: str) -> str | None:
    years = [int(number) for number in re.findall(r"\d+", group)]
    said = current_registry().load("task", "age").parse(answer) if years else None
    if said is None:
        return None
    low, high = years[0], years[1] if len(years) > 1 else 120
    if low - AGE_TOLERANCE <= said <= high + AGE_TOLERANCE:
        return None
    return f"the answer says age {said:g}, the label is {group}"
