"""Records, conversations and data sources; names load when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ACTION_UNITS": "labels",
    "EXPRESSIONS": "labels",
    "SYNTHETIC_ATTRIBUTES": "labels",
    "TASKS": "labels",
    "FaceLabels": "labels",
    "FaceRecord": "records",
    "RecordCounts": "counting",
    "SourceSummary": "sources",
    "Turn": "records",
    "iterate_records": "records",
    "read_records": "records",
    "read_source": "sources",
    "write_records": "records",
    "canonical_question": "templates",
    "phrase_answer": "templates",
    "phrase_question": "templates",
    "write_conversation": "templates",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
