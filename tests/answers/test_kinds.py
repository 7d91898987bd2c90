"""Kinds of statements that name a label without claiming it, and of answers that are read as a whole."""

from __future__ import annotations

import json
from itertools import islice

import blind_answers as blind
import pytest

from facekit.answers.languages.vocabulary import LANGUAGES, load_vocabulary
from facekit.answers.languages.words import Words
from facekit.answers.readers.ages import read_age
from facekit.answers.readers.attributes import read_attributes
from facekit.answers.readers.expressions import read_expression
from facekit.answers.readers.manipulation import read_manipulation
from facekit.answers.readers.options import read_option
from facekit.answers.readers.units import read_action_units
from facekit.answers.readers.yes_or_no import read_yes_or_no
from facekit.answers.reading import Rule

OPTIONS = ["happy", "sad", "angry", "afraid"]


@pytest.mark.parametrize(
    ("answer", "label", "rule"),
    [
        ("At first I thought of fear, but the mouth is up: happiness.", "happiness", Rule.STATEMENT),
        ("Anger 10, sadness 70, fear 20", "sadness", Rule.SCORES),
        ("Anger - 5\nSadness - 5", None, Rule.CONTRADICTORY),
        ("From most to least likely:\n1. Fear\n2. Surprise", "fear", Rule.SCORES),
        ("Answer: fear\nAnswer: anger", None, Rule.CONTRADICTORY),
        ("Anger or disgust: I can't decide between the two.", None, Rule.UNDECIDED),
        ("The person is turned away, so no emotion can be seen.", None, Rule.NOTHING),
        ("Is it happiness?", None, Rule.NOTHING),
    ],
)
def test_expressions_by_kind(answer, label, rule):
    reading = read_expression(answer)
    assert (reading.value, reading.rule) == (label, rule)


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        ("AU6: cannot be scored. AU12: present.", {"AU12"}),
        ("AU12. I considered AU6 and left it out.", {"AU12"}),
        ("AU1: The forehead is smooth. Not active.\nAU25: A gap shows. Active.", {"AU25"}),
        ("| AU | present |\n|---|---|\n| 6 | yes |\n| 12 | no |", {"AU6"}),
        ("AU6: present\nAU6: absent", None),
        ("If the brows were raised, AU1 would be active. I see AU4.", {"AU4"}),
        ("The woman on the left shows AU12. The man in question shows AU4.", {"AU4"}),
        ("AU4 is the brow lowerer, AU12 the lip corner puller.", None),
    ],
)
def test_action_units_by_kind(answer, codes):
    assert read_action_units(answer).value == codes


@pytest.mark.parametrize(
    ("answer", "years"),
    [
        ("Base 30, plus 5 for the lines: 30 + 5 = 35", 35),
        ("52.5 years, rounded down to 52", 52),
        ("10-19: 20 %\n20-29: 80 %", 24.5),
        ("10-19: 50 %\n20-29: 50 %", None),
        ("between 1 and 99 years", None),
        ("10, 20, 30, 40", None),
        ("Her mother, 60, stands behind her; she is about 30.", 30),
    ],
)
def test_ages_by_kind(answer, years):
    assert read_age(answer).value == years


def test_all_and_none_answer_for_everything_that_was_asked():
    asked = ["Smiling", "Bangs", "Young"]
    assert read_attributes("All three attributes apply.", asked).value == set(asked)
    assert read_attributes("All of them except bangs.", asked).value == {"Smiling", "Young"}
    assert read_attributes("None of the attributes is present.", asked).value == frozenset()
    assert read_attributes("He wears a hat.", asked).value is None


def test_a_probability_without_its_number_decides_nothing_and_one_with_it_does():
    assert read_manipulation("偽物である確率は8%です。").value is False
    assert read_manipulation("8.5 / 10 on the fakeness scale").value is not False
    assert read_manipulation("A deepfake is a face that was synthesized.").value is None


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("Not A. Not B. Not C. The remaining one is it.", "D"),
        ("I settle on the second.", "B"),
        ("A and B.", None),
        ("A) sad", None),
        ("A: no smile\nB: the corners are level\nD: relaxed lids\nThat leaves angry.", "C"),
    ],
)
def test_options_by_kind(answer, letter):
    assert read_option(answer, OPTIONS).value == letter


@pytest.mark.parametrize(
    ("question", "answer", "says"),
    [
        ("Does the person have freckles?", "I don't see any freckles.", False),
        ("Is the person holding a cup?", "She holds a cup.", True),
        ("Are the eyes closed?", "The eyes are open.", False),
        ("Is more than one face visible?", "There is only one face.", False),
        ("Are there two people?", "I count three people.", False),
        ("Is the mouth open?", "It is, slightly.", True),
        ("Is he bald?", "Yes. No. Yes. No.", None),
    ],
)
def test_questions_about_anything_are_answered_by_statements_with_their_words(question, answer, says):
    assert read_yes_or_no(answer, question).value is says


def test_a_vocabulary_never_passes_over_a_text_that_has_its_words():
    rows = [json.loads(line) for line in (blind.FOLDER / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    for language in LANGUAGES:
        vocabulary = load_vocabulary(language)
        texts = [row["answer"].lower() for row in islice((row for row in rows if row["language"] == language), 12)]
        tables = (
            vocabulary.labels("attributes"),
            vocabulary.labels("units"),
            vocabulary.labels("expressions", "names"),
        )
        for words in (*(each for table in tables for each in table.values()), vocabulary.words("deny", "before")):
            for text in texts:
                found = words._pattern.search(text)
                assert (words.search(text) is None) == (found is None)


def test_words_need_the_letters_that_each_of_them_has():
    words = Words(["eye ?glasses", "(?:sun)?shades", "un|deux"])
    assert [word for word in ("eye glasses", "sunshades", "deux", "nothing") if words.search(word)] == [
        "eye glasses", "sunshades", "deux",
    ]  # fmt: skip
