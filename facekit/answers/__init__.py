"""Parsers of free-text answers: labels, ages, action units, attributes and chosen options."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"option_extraction": ["extract_published", "extract_strict"]}
)
