"""Answers are judged beside the truth."""

from __future__ import annotations

import pytest

from facekit.data.labels import FaceLabels
from facekit.demo.report import answer_rows, judge


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        ("fear", "fear", ("right", True)),
        ("fear", "anger", ("wrong", False)),
        ("fear", None, ("unreadable", False)),
        (True, True, ("right", True)),
        (False, True, ("wrong", False)),
        (40.0, 40.2, ("right", True)),
        (40.0, 44.0, ("4 years off", True)),
        (40.0, 41.0, ("1 year off", True)),
        (40.0, 60.0, ("20 years off", False)),
        ({"AU1": True, "AU2": False}, frozenset({"AU1"}), ("right", True)),
        ({"AU1": True, "AU2": False}, frozenset({"AU2"}), ("0 of 2 right", False)),
        ({"AU1": True, "AU2": False}, frozenset({"AU1", "AU2"}), ("1 of 2 right", False)),
    ],
)
def test_answers_are_judged_against_the_truth(truth, prediction, expected):
    assert judge(truth, prediction) == expected


def test_only_labelled_and_answered_tasks_become_rows():
    labels = FaceLabels(expression="fear", age=30.0)
    rows = answer_rows(labels, {"expression": "I see fear.", "manipulation": "genuine"})
    assert [(row.truth, row.verdict) for row in rows] == [("fear", "right")]
    hat = FaceLabels(attributes={"Wearing_Hat": True, "Black_Hair": True, "Bangs": False})
    assert answer_rows(hat, {"attributes": "a hat"})[0].truth == "a hat and black hair"
