"""Generating instruction data: recipes, annotators, the resumable pipeline, quality; names load when first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Annotator": "calls",
    "EndpointAnnotator": "annotators.endpoint",
    "GenerationResult": "workflow",
    "GenerationSettings": "settings",
    "Ledger": "ledger",
    "Recipe": "recipe",
    "TemplateAnnotator": "annotators.template",
    "dry_run": "preview",
    "generate": "workflow",
    "load_recipe": "recipe",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
