"""Readers of free-text answers: labels, ages, action units, attributes and chosen options, each with its rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.answers.option_extraction import extract_published, extract_strict
    from facekit.answers.readers.ages import read_age
    from facekit.answers.readers.attributes import read_attributes
    from facekit.answers.readers.expressions import read_expression
    from facekit.answers.readers.manipulation import read_manipulation
    from facekit.answers.readers.options import read_option
    from facekit.answers.readers.units import read_action_units
    from facekit.answers.readers.yes_or_no import read_presence, read_yes_or_no
    from facekit.answers.reading import Reading, Rule

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "option_extraction": ["extract_published", "extract_strict"],
        "readers.ages": ["read_age"],
        "readers.attributes": ["read_attributes"],
        "readers.expressions": ["read_expression"],
        "readers.manipulation": ["read_manipulation"],
        "readers.options": ["read_option"],
        "readers.units": ["read_action_units"],
        "readers.yes_or_no": ["read_presence", "read_yes_or_no"],
        "reading": ["Reading", "Rule"],
    },
)
