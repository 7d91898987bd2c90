"""Readers for the layouts in which face datasets are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.data.sources.base import Source
    from facekit.data.sources.fairface import RACES
    from facekit.data.sources.reading import open_source, read_source
    from facekit.data.sources.summary import SourceSummary
    from facekit.data.sources.tables import read_table

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Source"],
        "fairface": ["RACES"],
        "reading": ["open_source", "read_source"],
        "summary": ["SourceSummary"],
        "tables": ["read_table"],
    },
)
