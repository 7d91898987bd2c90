"""The demo: data, training and evaluation walked through once, ending in a report; names load when first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"DemoResult": "run", "DemoSettings": "settings", "Photograph": "photograph", "run_demo": "run"}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
