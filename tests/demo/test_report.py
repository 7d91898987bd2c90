"""Answers are judged beside the truth, and pictures go into the page as text."""

from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image

from facekit.data.labels import FaceLabels
from facekit.demo.pictures import data_uri, loss_curve
from facekit.demo.report import answer_rows, judge
from facekit.training.watching.history import LossHistory, LossPoint


def history(losses):
    return LossHistory(tuple(LossPoint(n + 1, n / 10, loss, 1e-3) for n, loss in enumerate(losses)))


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


def test_a_picture_survives_its_data_uri():
    uri = data_uri(Image.new("RGB", (20, 10), (250, 0, 0)))
    picture = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert picture.size == (20, 10)
    red, green, _ = picture.getpixel((5, 5))
    assert red > 240
    assert green < 10


@pytest.mark.parametrize("losses", [[3.0], [3.0, 3.0], [6.0 / n for n in range(1, 900)], [float("nan"), 2.0, 1.0]])
def test_the_curve_stays_inside_its_frame(losses):
    svg = loss_curve(history(losses), width=700, height=260)
    places = [float(value) for pair in re.findall(r'points="([^"]*)"', svg) for value in re.split("[ ,]", pair)]
    assert all(0 <= value <= 700 for value in places if value == value)
    assert svg.count("<polyline") == 2
    assert svg.endswith("</svg>")


def test_an_empty_history_has_no_curve():
    assert loss_curve(history([])) == ""
