"""Without a judge, only labels are checked, and nothing is called a rating."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.evaluation.judging.explanations import JudgedAnswer
from facekit.evaluation.judging.label_checks import (
    AGREES,
    CONTRADICTS,
    INCOMPLETE,
    SILENT,
    UNCHECKED,
    check_labels,
    write_label_checks,
)
from facekit.evaluation.judging.rating_tables import label_check_table

FEAR = FaceLabels(expression="fear")
UNITS = FaceLabels(action_units={"AU6": 3.0, "AU12": 2.0, "AU4": 0.0})
HAT = FaceLabels(attributes={"Wearing_Hat": True, "Eyeglasses": False})


def judged(task, labels, text, item="", number=0):
    record = FaceRecord(id=str(number), image="a.png", labels=labels)
    return JudgedAnswer(f"{number}/{task}", record, Path(), task, "", text, "", item)


@pytest.mark.parametrize(
    ("task", "labels", "text", "outcome"),
    [
        ("expression", FEAR, "The brows are raised and drawn together, so I would say fear.", AGREES),
        ("expression", FEAR, "This is happiness, for the lip corners are pulled up.", CONTRADICTS),
        ("expression", FEAR, "I cannot help with that.", SILENT),
        ("expression", FaceLabels(age=3.0), "fear", UNCHECKED),
        ("expression", FaceLabels(expression="contempt"), "contempt: one lip corner is up", AGREES),
        ("age", FaceLabels(age=40.0), "Wrinkles are faint, so about 43 years.", AGREES),
        ("age", FaceLabels(age=40.0), "About 46 years old.", CONTRADICTS),
        ("action_units", UNITS, "AU6 and AU12 are active.", AGREES),
        ("action_units", UNITS, "AU12 is active.", INCOMPLETE),
        ("action_units", UNITS, "AU4 and AU12 are active.", CONTRADICTS),
        ("action_units", UNITS, "AU6, AU12 and AU25 are active.", AGREES),
        ("action_units", UNITS, "No action units are active.", CONTRADICTS),
        ("manipulation", FaceLabels(manipulated=True), "The edges are blurred: manipulated.", AGREES),
        ("manipulation", FaceLabels(manipulated=True), "The picture is genuine.", CONTRADICTS),
        ("conversation", FEAR, "Whatever.", UNCHECKED),
    ],
)
def test_an_answer_agrees_with_its_label_contradicts_it_or_names_none(task, labels, text, outcome):
    (check,) = check_labels([judged(task, labels, text)])
    assert check.outcomes == {outcome: 1}


def test_a_yes_or_no_answer_is_checked_by_its_item():
    answers = [
        judged("attribute_questions", HAT, text, item, number)
        for number, (item, text) in enumerate(
            [("Wearing_Hat", "Yes."), ("Eyeglasses", "Yes, there are."), ("Eyeglasses", "Hm.")]
        )
    ]
    (check,) = check_labels(answers)
    assert check.outcomes == {AGREES: 1, CONTRADICTS: 1, SILENT: 1}
    assert check.share(AGREES) == pytest.approx(1 / 3)


def test_file_and_table_say_that_there_are_no_ratings(tmp_path):
    checks = check_labels([judged("expression", FEAR, "fear"), judged("age", FaceLabels(age=9.0), "9", number=1)])
    values = json.loads(write_label_checks(tmp_path / "new" / "checks.json", checks).read_text())
    assert values["ratings"] is None
    assert [words.split(":")[0] for words in values["not_judged"]] == [
        "consistency with the image",
        "completeness",
        "consistency with the label as a rating",
    ]
    assert [entry["task"] for entry in values["tasks"]] == ["age", "expression"]
    console = Console(file=io.StringIO(), width=160)
    console.print(label_check_table(checks))
    assert "no ratings" in console.file.getvalue()
