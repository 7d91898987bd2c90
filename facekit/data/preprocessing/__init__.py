"""Faces out of whole datasets: detect, crop, landmarks, frames; in parallel, resumable, into shards."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ENGINES": "engines",
    "PreprocessProgress": "pipeline",
    "PreprocessResult": "pipeline",
    "PreprocessSettings": "settings",
    "RecordFailure": "faces",
    "preprocess": "pipeline",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
