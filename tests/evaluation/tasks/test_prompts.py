"""Prompt styles: closed questions name every label in words that the readers know, and files of prompts are checked."""

from __future__ import annotations

import random

import pytest

from facekit.data.labels import ACTION_UNIT_NAMES, ACTION_UNITS, CELEBA_ATTRIBUTES, EXPRESSIONS
from facekit.errors import ConfigurationError, UnknownPartError
from facekit.evaluation import (
    ACTION_UNITS as UNITS,
)
from facekit.evaluation import AGE, ALL_TASKS, ATTRIBUTE_QUESTIONS, ATTRIBUTES, EXPRESSION, MANIPULATION
from facekit.evaluation.tasks.closed_questions import closed_attribute_words
from facekit.evaluation.tasks.prompts import PromptStyle

CLOSED = PromptStyle.of("closed")


def test_closed_questions_name_the_labels_and_the_form_of_the_answer():
    asked = {task.name: CLOSED.phrase(task, []).question for task in ALL_TASKS}
    assert all(name in asked["expression"] for name in EXPRESSIONS)
    assert all(f"{code} ({name})" in asked["action_units"] for code, name in ACTION_UNITS.items())
    assert sum(closed_attribute_words(name) in asked["attributes"] for name in CELEBA_ATTRIBUTES) == 40
    assert "real or fake" in asked["manipulation"]
    assert "number" in asked["age"]
    assert all("Answer with" in question for question in asked.values())


def test_closed_questions_name_what_a_data_set_has_beyond_the_usual_labels():
    expression = CLOSED.phrase(EXPRESSION, ["happiness", "contempt"])
    assert "contempt" in expression.question
    assert "anxiety" not in expression.question
    units = CLOSED.phrase(UNITS, [{"AU12": True, "AU4": False}, {"AU7": True, "AU43": False}])
    listed = "AU4 (brow lowerer), AU7 (lid tightener), AU12 (lip corner puller), AU43?"
    assert f"in this face: {listed}" in units.question
    assert "freckles" in CLOSED.phrase(ATTRIBUTES, [{"Freckles": True}]).question


def test_every_answer_in_the_words_of_a_closed_question_is_read_as_it_is_meant():
    for name in EXPRESSIONS:
        assert EXPRESSION.reading(name).value == name
    for code in ACTION_UNIT_NAMES:
        assert UNITS.reading(code).value == {code}
    assert (UNITS.reading("none").value, ATTRIBUTES.reading("None.").value) == (frozenset(), frozenset())
    assert [MANIPULATION.reading(word).value for word in ("real", "fake", "Fake.")] == [False, True, True]
    assert AGE.reading("34").value == 34
    rng = random.Random(0)
    for _ in range(120):
        names = rng.sample(CELEBA_ATTRIBUTES, rng.randint(1, 10))
        assert ATTRIBUTES.reading(", ".join(map(closed_attribute_words, names))).value == set(names)


def test_the_options_of_a_closed_question_are_its_words_and_the_positive_one_stays_so():
    closed = CLOSED.phrase(MANIPULATION, [True])
    assert (closed.options, closed.positive) == (("real", "fake"), "fake")
    assert PromptStyle.of("trained").phrase(MANIPULATION, [True]) is MANIPULATION
    assert CLOSED.phrase(ATTRIBUTE_QUESTIONS, []) is ATTRIBUTE_QUESTIONS  # closed as it is


def write(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_has_a_prompt_for_each_task(tmp_path):
    style = PromptStyle.of(write(tmp_path, "age: Wie alt?\nattribute_questions: 'Sieht man {label}?'\n"))
    assert style.name == "mine.yaml"
    style.check([AGE, ATTRIBUTE_QUESTIONS])
    assert style.phrase(AGE, []).questions(30.0) == {"": "Wie alt?"}
    asked = style.phrase(ATTRIBUTE_QUESTIONS, []).questions({"No_Beard": True})
    assert asked == {"No_Beard": "Sieht man no beard?"}


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("age: How old?\nmood: Which?\n", UnknownPartError, "mood"),
        ("age: How old?\nexpresion: Which?\n", UnknownPartError, "did you mean 'expression'"),
        ("age: '  '\n", ConfigurationError, "the prompt for 'age' is '  ', and has to be a text"),
        ("age:\n", ConfigurationError, "the prompt for 'age' is None"),
        ("age: [1, 2]\n", ConfigurationError, "has to be a text"),
        ("- age\n", ConfigurationError, "mapping of tasks to prompts"),
        ("", ConfigurationError, "mapping of tasks to prompts"),
        ("age: 'open\n", ConfigurationError, "cannot be read"),
        ("age: ${\nage: [\n", ConfigurationError, "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path, text, kind, words):
    with pytest.raises(kind, match=r"prompts .*mine\.yaml") as raised:
        PromptStyle.of(write(tmp_path, text))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_task_without_a_prompt_and_one_without_its_label_are_named(tmp_path):
    style = PromptStyle.of(write(tmp_path, "age: How old?\nattribute_questions: Is it so?\n"))
    with pytest.raises(ConfigurationError, match=r"mine\.yaml has no prompt for expression, manipulation"):
        style.check([AGE, EXPRESSION, MANIPULATION])
    with pytest.raises(ConfigurationError, match=r"its prompt needs \{label\}"):
        style.check([ATTRIBUTE_QUESTIONS])
    with pytest.raises(ConfigurationError, match=r"'trained', 'closed' or a YAML file.*not 'open'"):
        PromptStyle.of("open")
