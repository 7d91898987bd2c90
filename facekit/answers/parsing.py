"""``parse_…``: the label alone of each reading, for those who do not ask which rule made it.

A parser returns None where the answer commits itself to no label; the evaluation counts such answers and scores them as
wrong. Parsers never guess from the truth.
"""

from __future__ import annotations

from collections.abc import Sequence

from facekit.answers.readers.ages import read_age
from facekit.answers.readers.attributes import read_attributes
from facekit.answers.readers.expressions import read_expression
from facekit.answers.readers.manipulation import read_manipulation
from facekit.answers.readers.units import read_action_units
from facekit.answers.readers.yes_or_no import read_presence
from facekit.data.labels import EXPRESSIONS


def parse_expression(text: str, classes: Sequence[str] = EXPRESSIONS) -> str | None:
    """One of the classes, or None; see ``read_expression``."""
    return read_expression(text, classes).value


def parse_action_units(text: str) -> frozenset[str] | None:
    """Codes of the active units, or None; see ``read_action_units``."""
    return read_action_units(text).value


def parse_attributes(text: str) -> frozenset[str] | None:
    """CelebA names of what the face has, or None; see ``read_attributes``."""
    return read_attributes(text).value


def parse_presence(text: str, name: str) -> bool | None:
    """Whether the face has one attribute, or None; see ``read_presence``."""
    return read_presence(text, name).value


def parse_age(text: str) -> float | None:
    """Years, or None; see ``read_age``."""
    return read_age(text).value


def parse_manipulation(text: str, *, yes_means: bool | None = None) -> bool | None:
    """True for manipulated, False for genuine, or None; see ``read_manipulation``."""
    return read_manipulation(text, yes_means=yes_means).value
