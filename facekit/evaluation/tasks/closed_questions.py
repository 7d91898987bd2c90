"""Closed questions of the tasks: they name the labels to choose from and the form of the answer.

They are for models that never learned facekit's own wordings. Each takes the truths of a data set, whose labels it may
have to name beyond the usual ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from facekit.data.labels import ACTION_UNIT_NAMES, ACTION_UNITS, ALL_EXPRESSIONS, CELEBA_ATTRIBUTES, EXPRESSIONS

REAL_OR_FAKE = ("real", "fake")
"""The options of ``ask_manipulation``."""


def ask_expression(truths: Sequence[str]) -> str:
    """Name the seven expressions, and those beyond them that a data set has."""
    classes = [name for name in ALL_EXPRESSIONS if name in EXPRESSIONS or name in truths]
    return f"Which facial expression does this face show? Answer with one word of this list: {', '.join(classes)}."


def ask_action_units(truths: Sequence[Mapping[str, bool]]) -> str:
    """Name the units that are annotated, by number and name."""
    annotated = {code for truth in truths for code in truth} or set(ACTION_UNITS)
    units = [_unit_words(code) for code in sorted(annotated, key=lambda code: int(code[2:]))]
    return (
        f"Which of these facial action units (FACS) are active in this face: {', '.join(units)}? Answer with the "
        "numbers of the active ones, such as AU1, separated by commas, or with the word none."
    )


def ask_attributes(truths: Sequence[Mapping[str, bool]]) -> str:
    """Name CelebA's forty attributes, and those beyond them that a data set has."""
    names = dict.fromkeys([*CELEBA_ATTRIBUTES, *(name for truth in truths for name in truth)])
    words = ", ".join(map(closed_attribute_words, names))
    return (
        f"Which of these attributes does this face have: {words}? Answer with the attributes of this list that it has, "
        "in the words of the list, separated by commas, or with the word none."
    )


def ask_age(truths: Sequence[float]) -> str:
    """Ask for a number of years."""
    del truths
    return "How old is this person? Answer with one number: the age in years."


def ask_manipulation(truths: Sequence[bool]) -> str:
    """Name the two words of ``REAL_OR_FAKE``."""
    del truths
    return (
        "Is this picture of a face real, or is it fake (manipulated or generated)? Answer with one word: "
        f"{' or '.join(REAL_OR_FAKE)}."
    )


def closed_attribute_words(name: str) -> str:
    """An attribute as the list names it: CelebA's own name with spaces."""
    return name.replace("_", " ").lower()


def _unit_words(code: str) -> str:
    name = ACTION_UNIT_NAMES.get(code)
    return code if name is None else f"{code} ({name})"
