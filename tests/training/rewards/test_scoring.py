"""What single answers are worth, with the numbers that the formulas give."""

from __future__ import annotations

import pytest

from facekit.data.labels import ACTION_UNITS, EXPRESSIONS, FaceLabels
from facekit.training.rewards import (
    score_age,
    score_answer,
    score_attributes,
    score_expression,
    score_format,
    score_manipulation,
    score_units,
    score_verification,
)

UNITS = {"AU1": 0.0, "AU2": 0.0, "AU4": 0.5, "AU6": 3.0, "AU12": 4.0, "AU25": 0.0}
THOUGHT = "The mouth corners rise and the cheeks push up the lower lids clearly"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("happiness", 1),
        ("The face shows happiness.", 1),
        ("<think>maybe sadness</think> happiness", 1),
        ("The person looks neither sad nor angry; the smile says happiness.", 1),
        ("It might pass for surprise or fear at first. Answer: happiness", 1),
        ("This is most likely happiness, possibly surprise.", 1 / 2),
        ("Answer: happiness. Though the brows hint at sadness.", 1 / 2),
        ("It is sadness.", 0),
        ("<think>happiness</think>", 0),
        (", ".join(EXPRESSIONS), 0),
        ("It is happiness. It is sadness. It is fear.", 0),
        ("", 0),
    ],
)
def test_an_expression_is_shared_by_all_that_are_named(answer, expected):
    assert score_expression(answer, "happiness").value == expected


def test_naming_more_expressions_never_scores_more_in_expectation_than_naming_one():
    for count in range(2, len(EXPRESSIONS) + 1):
        for words in (", ".join, " or ".join, ". It is ".join, " and perhaps ".join):
            answer = f"It is {words(EXPRESSIONS[:count])}."
            mean = sum(score_expression(answer, truth).value for truth in EXPRESSIONS) / len(EXPRESSIONS)
            assert mean <= 1 / len(EXPRESSIONS) + 1e-9, answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("35", 1),
        ("She is about 37 years old.", 0.8),
        ("Answer: 45", 0),
        ("Between thirty and forty years", 0.5),
        ("between 20 and 50", 0),
        ("She could be 35, but could equally be 40 or 60.", 0),
        ("20, 30, 35, 40, 50", 0),
        ("Although she looks 45 at first, I would say 35 years.", 1),
        ("Geschätztes Alter: 35,5 Jahre", 0.95),
        ("I cannot tell.", 0),
    ],
)
def test_an_age_is_as_far_away_as_the_farthest_that_is_named(answer, expected):
    assert score_age(answer, 35).value == pytest.approx(expected)


def test_the_scale_of_ages_is_an_argument():
    assert score_age("45", 35, scale=20).value == 0.5


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("AU6 and AU12", 1),
        ("AU6", (2 / 3 - 1 / 2) / (1 / 2)),
        ("AU1, AU6, AU12", (4 / 5 - 1 / 2) / (1 / 2)),
        (", ".join(UNITS), 0),
        ("AU6, AU12, AU17, AU26", 1),  # nobody knows about the last two
        ("No action unit is active.", 0),
        ("AU1, AU2", 0),
    ],
)
def test_units_score_by_what_they_say_beyond_naming_all(answer, expected):
    assert score_units(answer, UNITS).value == pytest.approx(expected)


def test_where_no_unit_is_active_only_saying_so_scores():
    calm = dict.fromkeys(ACTION_UNITS, 0.0)
    assert score_units("No action unit is active.", calm).value == 1
    assert score_units("AU1", calm).value == 0
    assert score_units("The weather is fine.", calm).value == 0


FACE = {"Eyeglasses": True, "Wearing_Hat": False, "Smiling": True, "Bangs": False}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Eyeglasses: yes. Hat: no. Smiling: yes. Bangs: no.", 1),
        ("Eyeglasses: yes. Hat: yes. Smiling: yes. Bangs: yes.", 0),
        ("Eyeglasses: no. Hat: no. Smiling: no. Bangs: no.", 0),
        ("Eyeglasses: yes. Hat: yes. Smiling: yes. Bangs: no.", 0.5),
        ("The weather is fine.", 0),
    ],
)
def test_attributes_asked_for_are_worth_what_the_same_word_for_all_is_not(answer, expected):
    assert score_attributes(answer, FACE, list(FACE)).value == pytest.approx(expected)


def test_attributes_that_a_face_has_score_beyond_naming_all():
    assert score_attributes("She wears eyeglasses and smiles.", FACE).value == 1
    assert score_attributes("Eyeglasses, a hat, a smile and bangs.", FACE).value == 0
    assert score_attributes("Yes.", {"Eyeglasses": True}, ["Eyeglasses"]).value == 1
    assert score_attributes("No.", {"Eyeglasses": True}, ["Eyeglasses"]).value == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The picture is manipulated.", 1),
        ("The picture is genuine.", 0),
        ("I am 80% sure that it is fake.", (2 - 0.2**2) / 2),
        ("Fake, confidence: 0.9", (2 - 0.1**2) / 2),
        ("The probability of manipulation is 10%, so it is genuine.", (1 - 0.9**2) / 2),
        ("Real: 90%, fake: 10%", (1 - 0.9**2) / 2),
        ("It is fake. It is real.", 0),
        ("It is fake, 60% sure, 70% sure, 90% sure.", 0),
        ("Fake, 300% sure.", 0),
    ],
)
def test_a_verdict_scores_with_its_confidence(answer, expected):
    assert score_manipulation(answer, True).value == pytest.approx(expected)


@pytest.mark.parametrize("chance", [0.2, 0.4, 0.7, 0.95])
def test_the_likelier_verdict_at_its_true_probability_pays_best(chance):
    def expected(answer):
        return chance * score_manipulation(answer, True).value + (1 - chance) * score_manipulation(answer, False).value

    shares = [round(50 + step) for step in range(0, 51, 5)]
    answers = {f"It is {word}, {share}% sure.": (word, share) for word in ("fake", "genuine") for share in shares}
    word, share = answers[max(answers, key=expected)]
    assert share == round(100 * max(chance, 1 - chance))
    assert word == ("fake" if chance > 0.5 else "genuine")


def test_yes_answers_what_was_asked():
    assert score_manipulation("Yes.", True, "Is this face manipulated?").value == 1
    assert score_manipulation("Yes.", True, "Is this photo genuine?").value == 0
    assert score_manipulation("Yes.", True).value == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes.", 1), ("No.", 0), ("These are the same person.", 1), ("Two different people.", 0),
        ("Not the same person.", 0), ("The same person, 70% sure.", (2 - 0.3**2) / 2),
        ("The same person, or different people.", 0), ("Nice pictures.", 0),
    ],
)  # fmt: skip
def test_verification_scores_as_a_verdict_does(answer, expected):
    assert score_verification(answer, True).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (f"<think>{THOUGHT}</think>\n<answer>happiness</answer>", 1),
        ("<think></think><answer>happiness</answer>", 0),
        ("<think>happiness happiness happiness</think><answer>happiness</answer>", 0),
        (f"<think>{THOUGHT}</think><answer></answer>", 0),
        (f"<think>{THOUGHT}</think>happiness", 0),
        (f"<answer>happiness</answer><think>{THOUGHT}</think>", 0),
        (f"<think>{THOUGHT}</think><answer>happiness</answer> or sadness", 0),
        ("<think>a b c d e f g h i j</think><answer>happiness</answer>", 0),
        ("<think>眼角有皱纹，嘴角上扬，脸颊抬起，所以看起来很高兴。</think><answer>高兴</answer>", 1),
        ("<think>目尻にしわがあり、口角が上がっているので喜んでいる。</think><answer>喜び</answer>", 1),
        ("<think>高兴高兴高兴，高兴！高兴。</think><answer>高兴</answer>", 0),
    ],
)
def test_the_form_is_kept_or_not(answer, expected):
    assert score_format(answer).value == expected


def test_an_answer_is_scored_by_its_task_and_the_records_labels():
    labels = FaceLabels(expression="fear", age=30, action_units={"AU1": 2.0, "AU2": 0.0}, attributes={"Male": True},
                        manipulated=False)  # fmt: skip
    answers = {
        "expression": "fear",
        "age": "30",
        "action_units": "AU1",
        "attributes": "male",
        "manipulation": "genuine",
    }
    for task, answer in answers.items():
        assert score_answer(task, answer, labels).value == 1, task
        assert score_answer(task, answer, FaceLabels()) is None
    assert score_answer("hair colour", "red", labels) is None
    assert score_answer("expression", "contempt", FaceLabels(expression="contempt")).value == 1


def test_a_score_says_why():
    assert score_expression("sadness", "fear").reason == "wrong: sadness"
    assert score_age("40", 35).reason == "5 years away"
    assert score_units("AU6", UNITS).reason == "1 of 2 and 0 wrong"


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("Is the person wearing eyeglasses?", "Yes.", 1.0),
        ("Is the person wearing eyeglasses?", "No, there are none.", 0.0),
        ("<image>\nHere is a face. Does it smile? Answer yes or no.", "No.", 1.0),
        ("<image>\nHere is a face. Does it smile? Answer yes or no.", "Yes, it smiles.", 0.0),
        ("Does the person have black hair?", "No, it is blond.", 1.0),
        ("Is the person wearing a hat?", "Yes.", None),
        ("Is the person wearing eyeglasses or smiling?", "Yes.", None),
        ("Is the person without eyeglasses?", "Yes.", None),
        ("Does this person have a beard?", "Yes.", None),
        ("Which attributes does this face have?", "Eyeglasses.", 1.0),
        ("Which attributes are there, such as eyeglasses?", "It wears eyeglasses.", 1.0),
    ],
)  # fmt: skip
def test_a_yes_or_no_question_about_an_attribute_is_answered_by_yes_or_no(question, answer, expected):
    labels = FaceLabels(attributes={"Eyeglasses": True, "Smiling": False, "Black_Hair": False, "No_Beard": True})
    if expected == 1.0 and question.startswith("Which"):
        labels = FaceLabels(attributes={"Eyeglasses": True, "Smiling": False})
    score = score_answer("attributes", answer, labels, question)
    assert (None if score is None else score.value) == expected
