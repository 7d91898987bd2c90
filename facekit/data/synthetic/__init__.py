"""Synthetic faces with exact truth, so that learning can be tried anywhere; names load when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "RENDERER_VERSION": "writing",
    "FaceParameters": "parameters",
    "SyntheticClip": "faces",
    "SyntheticFace": "faces",
    "draw_clip": "faces",
    "draw_face": "faces",
    "draw_parameters": "faces",
    "face_seed": "writing",
    "write_synthetic_dataset": "writing",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
