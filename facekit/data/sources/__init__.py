"""Readers for the layouts in which face datasets are distributed; names load when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Source": "base",
    "SourceSummary": "summary",
    "open_source": "reading",
    "read_source": "reading",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
