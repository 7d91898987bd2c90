"""Parsers of free-text answers: labels, ages, action units, attributes and chosen options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.answers.option_extraction import extract_published, extract_strict

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "option_extraction": ["extract_published", "extract_strict"],
    },
)
