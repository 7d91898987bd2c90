"""Training on the Hugging Face trainer; names load when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "LossHistory": "history",
    "RichProgress": "progress",
    "TrainingProgress": "progress",
    "TrainingResult": "trainer",
    "TrainingSettings": "settings",
    "train": "trainer",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
