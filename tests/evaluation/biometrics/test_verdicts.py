"""Answers about pairs and attacks are read as yes, no, or neither."""

from __future__ import annotations

import pytest

from facekit.evaluation.biometrics.verdicts import read_attack, read_same_person


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", True),
        ("**No.**", False),
        ("Yes, the two pictures show the same person.", True),
        ("These are different people.", False),
        ("They do not appear to be the same person.", False),
        ("It isn't the same man.", False),
        ("The jawline differs at first. Overall, they are the same individual.", True),
        ("They are the same woman, not two different people.", True),
        ("<think>Could be different people.</think>\nYes", True),
        ("The eyes and nose agree.\n\nFinal answer: no", False),
        ("Both show a man with a beard. Answer: Yes.", True),
        ("The faces are a match.", True),
        ("I cannot tell whether they are the same person.", None),
        ("I'm sorry, I can't help with identifying people.", None),
        ("", None),
        ("Both pictures are in colour.", None),
        ("<think>They look like the same person", None),
    ],
)
def test_statements_about_two_pictures(text, expected):
    assert read_same_person(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("No, it is a genuine picture.", False),
        ("This is a presentation attack: a printed photo.", True),
        ("The picture shows a live face.", False),
        ("It is not genuine.", True),
        ("There are no signs of a morph.", False),
        ("A replay attack on a screen.", True),
        ("A bona fide presentation", False),
        ("I cannot say whether it is a spoof.", None),
        ("A man with glasses.", None),
    ],
)
def test_statements_about_attacks(text, expected):
    assert read_attack(text) is expected
