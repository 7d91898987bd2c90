import pytest

from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.datagen.quality.contradictions import find_contradiction
from facekit.errors import UnknownPartError

RECORD = FaceRecord(
    id="a",
    image="a.png",
    labels=FaceLabels(
        expression="anger", action_units={"AU4": 3.0, "AU12": 0.0}, attributes={"Eyeglasses": False, "Bangs": True},
        age=30.0, manipulated=True,
    ),
    groups={"gender": "woman", "age_group": "20-29"},
)  # fmt: skip


@pytest.mark.parametrize(("check", "answer", "words"), [
    ("expression", "The expression is happiness.", "happiness, the label is anger"),
    ("action_units", "The active units are AU4 and AU12.", "names AU12"),
    ("attributes", "The person has bangs and eyeglasses.", "names Eyeglasses"),
    ("age", "The person is about 55 years old.", "age 55, the label is 30"),
    ("manipulation", "The picture is genuine.", "False, the label is True"),
    ("gender", "The man has a beard and his jaw is square.", "speaks of a man, the label is woman"),
    ("age_group", "He is about 60 years old.", "age 60, the label is 20-29"),
])  # fmt: skip
def test_another_label_contradicts(check, answer, words):
    assert words in find_contradiction(answer, RECORD, (check,))


@pytest.mark.parametrize(("check", "answer"), [
    ("expression", "The expression is anger: the brows are drawn together."),
    ("expression", "The mouth is closed."),
    ("expression", "The brows are level and relaxed, and the corners of the mouth are raised."),
    ("action_units", "The active units are AU4."),
    ("attributes", "The person has bangs."),
    ("age", "The person is about 34 years old."),
    ("manipulation", "The picture is manipulated."),
    ("gender", "The woman stands beside a man."),
    ("gender", "The face is oval."),
    ("age_group", "The person is in the late twenties."),
])  # fmt: skip
def test_the_same_label_or_none_contradicts_nothing(check, answer):
    assert find_contradiction(answer, RECORD, (check,)) is None


def test_what_is_not_annotated_cannot_be_contradicted():
    bare = FaceRecord(id="a", image="a.png")
    checks = ("expression", "action_units", "attributes", "age", "manipulation", "gender", "age_group")
    assert find_contradiction("A man of 55 who shows happiness; genuine.", bare, checks) is None


def test_an_unknown_check_names_the_closest_task():
    with pytest.raises(UnknownPartError, match="did you mean 'expression'"):
        find_contradiction("x", RECORD, ("expresion",))
