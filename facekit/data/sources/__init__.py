"""Readers for the layouts in which face datasets are distributed; names load when they are first used."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Source"],
        "reading": ["open_source", "read_source"],
        "summary": ["SourceSummary"],
    },
)
