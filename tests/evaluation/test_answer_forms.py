"""Answers as models write them, and the label that a careful reader takes from each; the parsers must agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekit.data.labels import EXPRESSIONS
from facekit.evaluation.ages import parse_age
from facekit.evaluation.parsing import (
    parse_action_units,
    parse_attributes,
    parse_expression,
    parse_manipulation,
)
from facekit.evaluation.vocabulary import ATTRIBUTE_WORDS

FOLDER = Path(__file__).parent / "answers"
ACCURACY = 0.98
FEWEST_FORMS = 100


def read_label(task, text):
    if text == "None":
        return None
    if task == "expression":
        return text
    if task == "manipulation":
        return text == "manipulated"
    if task == "age":
        return float(text)
    names = [] if text == "none" else text.split()
    return frozenset(f"AU{name}" for name in names) if task == "action_units" else frozenset(names)


PARSERS = {
    "expression": parse_expression,
    "action_units": parse_action_units,
    "attributes": parse_attributes,
    "age": parse_age,
    "manipulation": parse_manipulation,
}


def read_forms(task):
    rows = []
    for line in (FOLDER / f"{task}.tsv").read_text(encoding="utf-8").splitlines():
        label, answer = line.split("\t")
        rows.append((answer.replace("\\n", "\n"), read_label(task, label)))
    return rows


@pytest.mark.parametrize("task", PARSERS)
def test_hand_written_answers_are_read_as_a_careful_reader_reads_them(task):
    forms = read_forms(task)
    wrong = [
        f"{answer!r}: {found} instead of {label}"
        for answer, label in forms
        if (found := PARSERS[task](answer)) != label
    ]
    assert 1 - len(wrong) / len(forms) >= ACCURACY, "\n".join(wrong)


@pytest.mark.parametrize("task", PARSERS)
def test_there_are_a_hundred_different_forms_of_every_label_kind(task):
    forms = read_forms(task)
    assert len({answer for answer, _ in forms}) == len(forms) >= FEWEST_FORMS
    labels = [label for _, label in forms]
    assert None in labels
    if task == "expression":
        assert set(labels) == {*EXPRESSIONS, None}
    if task == "attributes":
        assert frozenset().union(*(label for label in labels if label)) == {*ATTRIBUTE_WORDS, "No_Beard"}
