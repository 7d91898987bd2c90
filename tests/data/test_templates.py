"""Templates: enough wordings, answers that carry exactly the label, questions only about what is known."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.data.labels import ACTION_UNITS, EXPRESSIONS, SYNTHETIC_ATTRIBUTES, TASKS, FaceLabels
from facekit.data.templates import (
    ANSWERS,
    QUESTIONS,
    canonical_question,
    phrase_answer,
    phrase_question,
    write_conversation,
)
from facekit.errors import ConfigurationError, RecordError

FULL = FaceLabels(
    expression="disgust",
    action_units={code: 3.0 if code in ("AU9", "AU15") else 0.0 for code in ACTION_UNITS},
    attributes={name: name in ("Eyeglasses", "Wearing_Hat", "Brown_Hair") for name in SYNTHETIC_ATTRIBUTES},
    age=33.6,
    manipulated=True,
)


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_enough_different_wordings(task):
    assert len(set(QUESTIONS[task])) >= 12
    assert len(set(ANSWERS[task])) >= 6
    assert canonical_question(task) in QUESTIONS[task]


def test_no_question_belongs_to_two_tasks():
    every = [question for task in TASKS for question in QUESTIONS[task]]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("task", TASKS)
def test_chance_reaches_every_wording_and_the_same_seed_the_same_one(task):
    rng = generator()
    assert {phrase_question(task, rng) for _ in range(400)} == set(QUESTIONS[task])
    assert phrase_answer(task, FULL, generator(3)) == phrase_answer(task, FULL, generator(3))


@given(seed=st.integers(0, 10**6), age=st.floats(1, 99), present=st.sets(st.sampled_from(list(SYNTHETIC_ATTRIBUTES))))
def test_answers_hold_the_label_and_nothing_else(seed, age, present):
    rng = generator(seed)
    expression = EXPRESSIONS[seed % 7]
    labels = FaceLabels(
        expression=expression,
        action_units={code: 4.0 * (seed >> place & 1) for place, code in enumerate(ACTION_UNITS)},
        attributes={name: name in present for name in SYNTHETIC_ATTRIBUTES},
        age=age,
        manipulated=bool(seed % 2),
    )
    words = re.findall(r"\w+", phrase_answer("expression", labels, rng))
    assert [word for word in words if word in EXPRESSIONS] == [expression]
    assert re.findall(r"AU\d+", phrase_answer("action_units", labels, rng)) == labels.active_units()
    assert re.findall(r"\d+", phrase_answer("age", labels, rng)) == [str(round(age))]
    verdict = phrase_answer("manipulation", labels, rng)
    assert ("manipulated" in verdict, "genuine" in verdict) == (labels.manipulated, not labels.manipulated)
    listed = phrase_answer("attributes", labels, rng)
    assert {name for name, natural in SYNTHETIC_ATTRIBUTES.items() if natural in listed} == present


def test_nothing_present_is_said_in_words():
    labels = FaceLabels(action_units={"AU1": 0.2}, attributes={"Bangs": False})
    assert "no action units" in phrase_answer("action_units", labels, generator())
    assert "none of the attributes" in phrase_answer("attributes", labels, generator())


def test_lists_are_joined_as_in_a_sentence():
    assert "eyeglasses, a hat and brown hair" in phrase_answer("attributes", FULL, generator())
    assert "AU9 and AU15" in phrase_answer("action_units", FULL, generator())


def test_attributes_without_a_wording_are_spelled_out():
    labels = FaceLabels(attributes={"Double_Chin": True})
    assert "double chin" in phrase_answer("attributes", labels, generator())


def test_answers_stay_short():
    full = FULL.model_copy(update={"attributes": dict.fromkeys(SYNTHETIC_ATTRIBUTES, False) | {"Bangs": True}})
    longest = {task: max(len(wording.split()) for wording in ANSWERS[task]) for task in TASKS}
    assert max(longest.values()) <= 7
    assert len(phrase_answer("attributes", full, generator()).split()) <= 6


def test_a_conversation_asks_only_about_what_is_known():
    turns = write_conversation(FaceLabels(age=20, expression="fear"), generator())
    assert sorted(turn.task for turn in turns) == ["age", "age", "expression", "expression"]
    assert [turn.role for turn in turns] == ["user", "assistant"] * 2
    assert write_conversation(FaceLabels(), generator()) == []


def test_the_order_of_questions_varies_and_their_number_is_bounded():
    orders = {tuple(turn.task for turn in write_conversation(FULL, generator(seed))[::2]) for seed in range(40)}
    assert len(orders) > 20
    assert all(sorted(order) == sorted(TASKS) for order in orders)
    assert len(write_conversation(FULL, generator(), questions=2)) == 4


def test_unknown_tasks_and_missing_labels_are_refused():
    with pytest.raises(ConfigurationError, match="no task 'gaze'"):
        canonical_question("gaze")
    with pytest.raises(ConfigurationError, match="no task 'gaze'"):
        phrase_answer("gaze", FULL, generator())
    with pytest.raises(RecordError, match="no 'manipulated'"):
        phrase_answer("manipulation", FaceLabels(), generator())
