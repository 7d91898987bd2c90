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
        ("I don't think they are the same person.", False),
        ("These don't look like the same person.", False),
        ("It doesn't seem to be the same individual.", False),
        ("They cannot be the same person.", False),
        ("They do not match.", False),
        ("Same person: no", False),
        ("No, these are two pictures of different men.", False),
        ("The person in the first picture and the person in the second picture are the same person.", True),
        ("The first image shows a man; the second image shows a different man.", False),
        ("They have the same nose, but the hair looks longer.", None),
        ("Yes/No", None),
        ("Yes and no.", None),
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
        ("This doesn't appear to be a spoof.", False),
        ("I don't see signs of manipulation.", False),
        ("The picture shows no signs of manipulation, spoofing, or morphing.", False),
        ("It isn't a printed photo, a screen, or a mask; it is a live face.", False),
        ("This photo wasn't manipulated.", False),
        ("The image lacks any signs of manipulation.", False),
        ("It doesn't look real.", True),
        ("It's a picture of a screen.", True),
        ("The first picture is a morph of two faces.", True),
        ("Yes, it is genuine.", False),
    ],
)
def test_statements_about_attacks(text, expected):
    assert read_attack(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ja.", True),
        ("Non, ce sont deux personnes différentes.", False),
        ("Ce n'est pas la même personne.", False),
        ("Sí, es la misma persona.", True),
        ("Es handelt sich um dieselbe Person.", True),
        ("São pessoas diferentes.", False),
        ("不，这是两个不同的人。", False),
        ("这不是同一个人。", False),
        ("同一人物です。", True),
        ("いいえ", False),
    ],
)
def test_answers_in_other_languages(text, expected):
    assert read_same_person(text) is expected


def test_an_answer_that_repeats_itself_is_read_by_its_beginning_and_end():
    assert read_same_person("They are not the same person. " * 20_000) is False
