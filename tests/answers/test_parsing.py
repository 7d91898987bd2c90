"""Hand-written answers in many forms, and the label that a careful reader would take from each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.answers.parsing import (
    parse_action_units,
    parse_age,
    parse_attributes,
    parse_expression,
    parse_manipulation,
)
from facekit.answers.readers.ages import OLDEST
from facekit.data.labels import ACTION_UNITS, EXPRESSIONS, SYNTHETIC_ATTRIBUTES, FaceLabels
from facekit.data.templates import ANSWERS, label_words, phrase_answer

EXPRESSION_ANSWERS = {
    "happiness": (
        "happiness", "The expression is happiness.", "Happy!", "**Happiness**", "The person looks happy.", "Joy",
        "She is smiling.", "I'd say he's delighted", "not sad but happy", "There is no doubt that he is happy.",
        "No sign of anger, fear or disgust: this face looks happy.", "A joyful, cheerful face",
        "The expression of the man is one of happiness.",
        "happy rather than surprised", "It isn't sadness; it's happiness.", "The face is amused, not angry.",
    ),
    "sadness": (
        "sadness", "sad", "unhappy", "a sad smile", "The face isn't smiling; it looks sad.", "not happy but sad",
        "Happy? No, sad.", "She is crying.", "sorrowful", "He seems dejected and unhappy.", "a melancholy look",
    ),
    "surprise": (
        "surprise", "The expression is surprise, though fear was close.", "surprised", "He looks astonished.",
        "Surprised rather than afraid", "startled", "shocked", "amazement", "It is mostly surprise, with some fear.",
    ),
    "fear": (
        "fear", "It is not anger, it is fear.", "afraid", "frightened", "She looks scared.", "terrified, not surprised",
        "anxious", "The person is fearful.",
    ),
    "disgust": ("disgust", "disgusted", "revulsion", "He is repulsed.", "neither angry nor sad, but disgusted"),
    "anger": (
        "anger", "ANGRY", "There is no doubt that she is angry.", "furious", "The man is mad.", "annoyed", "scowling",
        "The emotion: anger (not disgust).", "The emotion is one of anger.",
    ),
    "neutral": (
        "neutral", "The expression is neutral.", "no expression", "There is no clear expression, so neutral.",
        "no emotion, the face is neutral", "She shows no particular emotion.", "expressionless", "calm",
        "neither angry, sad nor happy, but calm", "without any expression", "blank", "emotionless and relaxed",
    ),
    None: (
        "", "banana", "not happy", "happy or sad", "neither happy nor sad", "I cannot tell.", "Yes.", "35",
        "angry and happy", "A smile is a sign of happiness.", "It is not surprise.", "The face shows AU12.",
    ),
}  # fmt: skip

UNIT_ANSWERS = (
    ("AU6 and AU12", "6 12"), ("AU6, AU12 and AU25.", "6 12 25"), ("The active units are AU1, AU2, AU5 and AU26.",
    "1 2 5 26"),
    ("AU 1, 2, 5 and 26 are active.", "1 2 5 26"), ("AU06+12+25", "6 12 25"), ("AUs 4, 5", "4 5"), ("au9", "9"),
    ("action units 9 and 17", "9 17"), ("Action Unit 20", "20"), ("6, 12, 25", "6 12 25"), ("12", "12"),
    ("AU-12", "12"), ("AU1 + AU4 + AU15", "1 4 15"), ("AU12 (lip corner puller)", "12"),
    ("AU6 (cheek raiser), AU12 (lip corner puller)", "6 12"), ("AU12 (intensity 3)", "12"), ("AU12: 3.5", "12"),
    ("AU1: 0, AU2: 1, AU4: 3.5", "2 4"), ("AU6: no, AU12: yes", "12"), ("AU4 is absent; AU12 is present", "12"),
    ("AU4 is not active, AU9 is.", "9"), ("No AU12 (lip corner puller), but AU4 (brow lowerer)", "4"),
    ("neither AU4 nor AU9, but AU17", "17"), ("without AU5; AU25 only", "25"), ("cheek raiser and lip corner puller",
    "6 12"),
    ("The inner brows raised, jaw dropped and lips parted", "1 25 26"), ("wrinkled nose", "9"), ("raised chin", "17"),
    ("Brow lowerer, upper lid raiser", "4 5"), ("lip stretcher but no jaw drop", "20"), ("furrowed brows", "4"),
    ("lip corner depressor", "15"), ("none", ""), ("No action units are active.", ""), ("no action units", ""),
    ("no AUs", ""), ("The face is relaxed: no facial movement.", ""), ("AU7 and AU12", "7 12"), ("* AU1\n* AU2", "1 2"),
    ("AU12 is active, AU25 isn't", "12"), ("The lips are parted? AU25 yes", "25"),
)  # fmt: skip

ATTRIBUTE_ANSWERS = (
    ("eyeglasses", "Eyeglasses"), ("glasses and a hat", "Eyeglasses Wearing_Hat"), ("spectacles", "Eyeglasses"),
    ("The person has black hair and no beard.", "Black_Hair No_Beard"), ("brown-haired", "Brown_Hair"),
    ("No glasses, no hat, black hair and no beard", "Black_Hair No_Beard"), ("blonde hair", "Blond_Hair"),
    ("The hair is gray; he has a beard and a moustache.", "Gray_Hair Mustache"), ("grey hair", "Gray_Hair"),
    ("without glasses, hat or earrings; blond hair", "Blond_Hair"), ("clean-shaven with bangs", "No_Beard Bangs"),
    ("black and gray hair", "Black_Hair Gray_Hair"), ("white hair", "Gray_Hair"), ("a cap", "Wearing_Hat"),
    ("Wearing_Lipstick, Heavy_Makeup, No_Beard", "Wearing_Lipstick Heavy_Makeup No_Beard"), ("lipstick",
    "Wearing_Lipstick"),
    ("She has brown hair, no beard, lipstick and earrings", "Brown_Hair No_Beard Wearing_Lipstick Wearing_Earrings"),
    ("Black hair, bangs, no beard and heavy makeup.", "Black_Hair Bangs No_Beard Heavy_Makeup"), ("a mustache",
    "Mustache"),
    ("heavy make-up", "Heavy_Makeup"), ("a fringe", "Bangs"), ("earring", "Wearing_Earrings"), ("beardless",
    "No_Beard"),
    ("He has a beard and wears a hat", "Wearing_Hat"), ("does not wear earrings, wears lipstick", "Wearing_Lipstick"),
    ("He isn't wearing glasses. Bangs are visible.", "Bangs"), ("Eyeglasses: no. Bangs: yes.", "Bangs"),
    ("hair is black", "Black_Hair"), ("not bearded, gray hair", "No_Beard Gray_Hair"), ("golden hair", "Blond_Hair"),
    ("The person has eyeglasses, a hat, gray hair and a mustache.", "Eyeglasses Wearing_Hat Gray_Hair Mustache"),
    ("There is a hat but no glasses.", "Wearing_Hat"), ("none of the attributes", ""), ("None of them.", ""),
    ("not wearing glasses", ""), ("no attributes", ""), ("a full beard", ""), ("a jet-black fringe and black hair",
    "Bangs Black_Hair"),
)  # fmt: skip

AGE_ANSWERS = (
    ("35", 35), ("35.", 35), ("about 35 years old", 35), ("The person is about 35 years old.", 35), ("35 y/o", 35),
    ("a 35-year-old woman", 35), ("Around 35 years old.", 35), ("The age is about 35 years.", 35), ("age: 42", 42),
    ("Age: 42.", 42), ("aged 61", 61), ("They look 42, I think.", 42), ("thirty-five", 35), ("twenty", 20),
    ("around fifty", 50), ("nineteen", 19), ("five years old", 5), ("in his thirties", 35), ("early thirties", 32),
    ("mid-forties", 45), ("late 20s", 28), ("in her early 30s", 32), ("her 60's", 65), ("30-40", 35), ("30 – 40", 35),
    ("between 30 and 40", 35), ("30 to 40 years old", 35), ("age 25-30", 27.5), ("between twenty and thirty years", 25),
    ("The person is about 35 years old, between 30 and 40", 35), ("a teenager", 16), ("late teens", 18),
    ("six months old", 0.5), ("18 months", 1.5), ("not 40 but 30", 30), ("60+", 60), ("over 70 years", 70),
    ("The person is a woman of about 45 years.", 45), ("The subject is a man in his forties.", 45),
    ("36.5 years", 36.5), ("I would say 8 years.", 8), ("81 yrs", 81), ("older than 20: 27 years old", 27),
)  # fmt: skip
AGELESS_ANSWERS = ("", "one person", "1980", "no idea", "adult", "80% sure", "68 landmarks", "450 years old", "not 40")

MANIPULATED_ANSWERS = (
    "manipulated", "The picture is manipulated.", "fake", "This is a deepfake.", "a deep fake", "It was edited.",
    "forged", "Forgery", "not genuine", "It's not real, it's fake", "The picture does not look authentic.",
    "The face has been swapped; it is not genuine.", "altered", "It has been tampered with.", "doctored",
    "Signs of manipulation are visible.", "inauthentic", "isn't real", "anything but fine: it was photoshopped",
    "The image is a deepfake of a celebrity.", "The photo is a forgery that was made by swapping faces.",
    "The mouth region was spliced in.", "I would say manipulated.", "This looks manipulated.", "never a real photo",
)  # fmt: skip
GENUINE_ANSWERS = (
    "genuine", "The picture is genuine.", "real", "authentic", "It is an original picture.", "not manipulated",
    "no signs of tampering or editing", "This picture is genuine, nothing was edited", "unaltered", "not a deepfake",
    "The picture is a photograph of a real person.",
    "I see no sign of manipulation.", "no manipulation", "The face has not been swapped.", "untouched",
    "It isn't fake.",
    "unmodified and unedited", "It looks real to me.", "free of manipulation", "The image was never altered.",
    "Nothing was tampered with.", "real, not fake", "no forgery here", "The face seems genuine.",
)  # fmt: skip
UNDECIDED_ANSWERS = (
    "",
    "A deepfake is a picture that a network made.",
    "No",
    "Yes.",
    "happy",
    "either real or fake",
    "a picture of a face",
    "I cannot tell.",
)


def rows(table):
    return [(answer, label) for label, answers in table.items() for answer in answers]


def names(text, prefix=""):
    return frozenset(f"{prefix}{name}" for name in text.split())


@pytest.mark.parametrize(("answer", "label"), rows(EXPRESSION_ANSWERS))
def test_expression_answers_are_read(answer, label):
    assert parse_expression(answer) == label


@pytest.mark.parametrize(("answer", "units"), UNIT_ANSWERS)
def test_action_unit_answers_are_read(answer, units):
    assert parse_action_units(answer) == names(units, "AU")


@pytest.mark.parametrize("answer", ["", "happiness", "I cannot tell.", "The face moves.", "yes"])
def test_answers_without_action_units_are_unreadable(answer):
    assert parse_action_units(answer) is None


@pytest.mark.parametrize(("answer", "attributes"), ATTRIBUTE_ANSWERS)
def test_attribute_answers_are_read(answer, attributes):
    assert parse_attributes(answer) == names(attributes)


@pytest.mark.parametrize("answer", ["", "xyz", "happiness", "about 35", "a face"])
def test_answers_without_attributes_are_unreadable(answer):
    assert parse_attributes(answer) is None


@pytest.mark.parametrize(("answer", "years"), AGE_ANSWERS)
def test_age_answers_are_read(answer, years):
    assert parse_age(answer) == pytest.approx(years)


@pytest.mark.parametrize("answer", AGELESS_ANSWERS)
def test_answers_without_an_age_are_unreadable(answer):
    assert parse_age(answer) is None


@pytest.mark.parametrize("answer", MANIPULATED_ANSWERS)
def test_verdicts_of_manipulation_are_read(answer):
    assert parse_manipulation(answer) is True


@pytest.mark.parametrize("answer", GENUINE_ANSWERS)
def test_verdicts_of_genuineness_are_read(answer):
    assert parse_manipulation(answer) is False


@pytest.mark.parametrize("answer", UNDECIDED_ANSWERS)
def test_answers_without_a_verdict_are_unreadable(answer):
    assert parse_manipulation(answer) is None


@pytest.mark.parametrize(
    ("answer", "yes_means", "verdict"), [("Yes.", True, True), ("No", True, False), ("Yes", False, False)]
)
def test_a_bare_yes_is_read_where_the_question_gives_it_a_meaning(answer, yes_means, verdict):
    assert parse_manipulation(answer, yes_means=yes_means) is verdict


def test_every_table_has_thirty_forms_or_more():
    sizes = [len(rows(EXPRESSION_ANSWERS)), len(UNIT_ANSWERS), len(ATTRIBUTE_ANSWERS), len(AGE_ANSWERS)]
    assert min(*sizes, len(MANIPULATED_ANSWERS) + len(GENUINE_ANSWERS)) >= 30


@pytest.mark.parametrize("code", ACTION_UNITS)
def test_every_action_unit_is_read_by_its_name(code):
    assert parse_action_units(f"I see {ACTION_UNITS[code]}.") == {code}


@given(
    expression=st.sampled_from(EXPRESSIONS),
    units=st.sets(st.sampled_from(sorted(ACTION_UNITS))),
    attributes=st.sets(st.sampled_from(sorted(SYNTHETIC_ATTRIBUTES))),
    age=st.integers(1, 100),
    manipulated=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_answer_that_the_templates_write_is_read_back(expression, units, attributes, age, manipulated, seed):
    rng = np.random.default_rng(seed)
    labels = FaceLabels(
        expression=expression,
        action_units={code: 2.0 if code in units else 0.0 for code in ACTION_UNITS},
        attributes={name: name in attributes for name in SYNTHETIC_ATTRIBUTES},
        age=age,
        manipulated=manipulated,
    )
    assert parse_expression(phrase_answer("expression", labels, rng)) == expression
    assert parse_action_units(phrase_answer("action_units", labels, rng)) == units
    assert parse_attributes(phrase_answer("attributes", labels, rng)) == attributes
    assert parse_age(phrase_answer("age", labels, rng)) == age
    assert parse_manipulation(phrase_answer("manipulation", labels, rng)) is manipulated


@pytest.mark.parametrize("task", ANSWERS)
def test_every_wording_of_the_templates_is_read_back(task):
    labels = FaceLabels(
        expression="fear", action_units={"AU4": 3.0, "AU5": 0.5}, attributes={"No_Beard": True}, age=8, manipulated=True
    )
    parse, truth = {
        "expression": (parse_expression, "fear"),
        "action_units": (parse_action_units, {"AU4"}),
        "attributes": (parse_attributes, {"No_Beard"}),
        "age": (parse_age, 8),
        "manipulation": (parse_manipulation, True),
    }[task]
    assert [parse(wording.format(label_words(task, labels))) == truth for wording in ANSWERS[task]] == [True] * len(
        ANSWERS[task]
    )


@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text):
    expression, age = parse_expression(text), parse_age(text)
    assert expression is None or expression in EXPRESSIONS
    assert age is None or 0 <= age <= OLDEST
    assert parse_manipulation(text) in (None, True, False)
    for labels in (parse_action_units(text), parse_attributes(text)):
        assert labels is None or isinstance(labels, frozenset)
