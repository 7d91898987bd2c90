"""Answers as models write them, and the label that a careful reader takes from each; the parsers must agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.answers.languages.vocabulary import load_vocabulary
from facekit.answers.parsing import (
    parse_action_units,
    parse_age,
    parse_attributes,
    parse_expression,
    parse_manipulation,
    parse_presence,
)
from facekit.data.labels import ACTION_UNIT_NAMES, ALL_EXPRESSIONS, CELEBA_ATTRIBUTES, EXPRESSIONS

FOLDER = Path(__file__).parent / "forms"
ACCURACY = 0.98
ATTRIBUTE_WORDS = load_vocabulary("en").labels("attributes")
FEWEST_FORMS = 100


def read_label(task, text):
    if text == "None":
        return None
    if task == "expression":
        return text
    if task == "manipulation":
        return text == "manipulated"
    if task == "age":
        return float(text)
    names = [] if text == "none" else text.split()
    return frozenset(f"AU{name}" for name in names) if task == "action_units" else frozenset(names)


PARSERS = {
    "expression": parse_expression,
    "action_units": parse_action_units,
    "attributes": parse_attributes,
    "age": parse_age,
    "manipulation": parse_manipulation,
}


def read_forms(task):
    rows = []
    for line in (FOLDER / f"{task}.tsv").read_text(encoding="utf-8").splitlines():
        label, answer = line.split("\t")
        rows.append((answer.replace("\\n", "\n"), read_label(task, label)))
    return rows


@pytest.mark.parametrize("task", PARSERS)
def test_hand_written_answers_are_read_as_a_careful_reader_reads_them(task):
    forms = read_forms(task)
    wrong = [
        f"{answer!r}: {found} instead of {label}"
        for answer, label in forms
        if (found := PARSERS[task](answer)) != label
    ]
    assert 1 - len(wrong) / len(forms) >= ACCURACY, "\n".join(wrong)


@pytest.mark.parametrize("task", PARSERS)
def test_there_are_a_hundred_different_forms_of_every_label_kind(task):
    forms = read_forms(task)
    assert len({answer for answer, _ in forms}) == len(forms) >= FEWEST_FORMS
    labels = [label for _, label in forms]
    assert None in labels
    if task == "expression":
        assert set(labels) == {*EXPRESSIONS, None}
    if task == "attributes":
        assert frozenset().union(*(label for label in labels if label)) == {*ATTRIBUTE_WORDS, "No_Beard"}
        assert {*ATTRIBUTE_WORDS, "No_Beard"} == set(CELEBA_ATTRIBUTES)


NUMBERS = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
DECADES = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety"}


def in_words(years):
    if years < 20:
        return NUMBERS[years - 1]
    decade, rest = DECADES[years // 10 * 10], years % 10
    return f"{decade}-{NUMBERS[rest - 1]}" if rest else decade


AGE_WORDINGS = (
    "{}", "{}.", "{} years old", "About {} years.", "The person is {} years old.", "Age: {}", "**{}**", "aged {}",
    '{{"age": {}}}', "a {}-year-old woman", "I would say {}, but it is hard to tell.",
    "She looks {} to me, not a teenager.",
)  # fmt: skip
RANGE_WORDINGS = (
    "{}-{}", "{} to {} years old", "between {} and {}", "between {} and {} years of age", "from {} to {}",
    "{} – {} years", "Age range: {}-{}", "The person is aged between {} and {}.",
)  # fmt: skip


@given(st.integers(1, 99), st.sampled_from(AGE_WORDINGS))
def test_every_age_is_read_in_every_wording(years, wording):
    assert parse_age(wording.format(years)) == years


@given(st.integers(1, 99), st.sampled_from(("{} years old", "{}", "The person is about {} years old.")))
def test_every_age_is_read_in_words(years, wording):
    assert parse_age(wording.format(in_words(years))) == years


@given(st.integers(1, 95), st.integers(1, 20), st.sampled_from(RANGE_WORDINGS))
def test_every_range_is_read_as_its_middle(low, width, wording):
    high = min(low + width, 99)
    assert parse_age(wording.format(low, high)) == (low + high) / 2


UNIT_FORMS = (
    "AU{number}", "AU {number}", "au{number}", "AU{number:02d}", "AU{number} ({name})", "{name} (AU{number})", "{name}",
    "**AU{number}**",
)  # fmt: skip


@given(
    st.sets(st.sampled_from(sorted(ACTION_UNIT_NAMES)), min_size=1),
    st.sampled_from(UNIT_FORMS),
    st.sampled_from((", ", " and ", "; ", "\n- ", " + ")),
    st.sampled_from(("{}", "Active: {}", "I see {}.", "The face shows {}; nothing else.", "- {}")),
)
def test_every_list_of_action_units_is_read_in_every_form(codes, form, separator, wording):
    units = [form.format(number=int(code[2:]), name=ACTION_UNIT_NAMES[code]) for code in sorted(codes)]
    assert parse_action_units(wording.format(separator.join(units))) == codes


@given(st.sets(st.sampled_from(sorted(ACTION_UNIT_NAMES))), st.sampled_from((": ", " = ", " - ", ": AU is ")))
def test_every_table_of_present_and_absent_units_is_read(codes, joint):
    words = ("absent", "present") if joint == ": AU is " else ("no", "yes")
    lines = [f"{code}{joint.replace('AU is ', '')}{words[code in codes]}" for code in ACTION_UNIT_NAMES]
    assert parse_action_units("\n".join(lines)) == codes


@pytest.mark.parametrize(
    ("answer", "seven", "eleven"),
    [
        ("contempt", "disgust", "contempt"),
        ("The person looks anxious.", "fear", "anxiety"),
        ("He is disappointed.", "sadness", "disappointment"),
        ("helpless", None, "helplessness"),
        ("not contempt but anger", "anger", "anger"),
    ],
)
def test_expressions_beyond_the_seven_are_read_where_a_data_set_has_them(answer, seven, eleven):
    assert parse_expression(answer) == seven
    assert parse_expression(answer, ALL_EXPRESSIONS) == eleven


@pytest.mark.parametrize(
    ("answer", "name", "present"),
    [
        ("Yes.", "Bangs", True),
        ("No", "Bangs", False),
        ("**Yes**, the person has bangs.", "Bangs", True),
        ("No, there are no bangs.", "Bangs", False),
        ("The person is wearing glasses.", "Eyeglasses", True),
        ("The person isn't wearing glasses.", "Eyeglasses", False),
        ("Answer: yes", "Young", True),
        ("The answer is no.", "Young", False),
        ("The man is clean-shaven.", "No_Beard", True),
        ("No beard.", "No_Beard", True),
        ("He has a full beard.", "No_Beard", False),
        ("The hair is long and black.", "Black_Hair", True),
        ("I cannot tell.", "Young", None),
        ("", "Chubby", None),
    ],
)
def test_answers_about_one_attribute_are_read(answer, name, present):
    assert parse_presence(answer, name) is present
