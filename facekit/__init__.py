"""facekit: mix vision encoders, region attention and language models into face-understanding multimodal LLMs.

Importing this package imports nothing heavy: every public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from facekit._version import __version__
from facekit.catalog import current_registry, isolated_registry
from facekit.errors import FaceKitError
from facekit.registration import describe_part, list_parts, register_part

if TYPE_CHECKING:
    from facekit.models.ask import ask
    from facekit.models.create import create
    from facekit.models.load import load
    from facekit.models.region_maps import region_maps

__all__ = [
    "FaceKitError",
    "__version__",
    "ask",
    "create",
    "describe_part",
    "isolated_registry",
    "list_parts",
    "load",
    "region_maps",
    "register_part",
]

_LAZY = {
    "ask": "facekit.models.ask",
    "create": "facekit.models.create",
    "load": "facekit.models.load",
    "region_maps": "facekit.models.region_maps",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'facekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
