"""facekit: mix vision encoders, region attention and language models into face-understanding multimodal LLMs.

Importing this package imports nothing heavy: every public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from facekit._version import __version__
from facekit.catalog import current_registry, isolated_registry
from facekit.errors import FaceKitError
from facekit.registry import KINDS

if TYPE_CHECKING:
    from facekit.models.ask import ask
    from facekit.models.create import create
    from facekit.models.load import load

__all__ = [
    "FaceKitError",
    "__version__",
    "ask",
    "create",
    "describe_part",
    "isolated_registry",
    "list_parts",
    "load",
    "register_part",
]

_LAZY = {
    "ask": "facekit.models.ask",
    "create": "facekit.models.create",
    "load": "facekit.models.load",
}


def list_parts(kind: str | None = None) -> Any:
    """Return what can be mixed: the sorted names of one kind, or of every kind by kind.

    Args:
        kind: ``encoder``, ``connector``, ``backbone``, ``landmarker``, ``preset``, ``dataset``, ``annotator`` or
            ``task``; None for all of them.

    Raises:
        UnknownPartError: No such kind.
    """
    registry = current_registry()
    return {each: registry.names(each) for each in KINDS} if kind is None else registry.names(kind)


def describe_part(kind: str, name: str) -> dict[str, str | None]:
    """Return a part's name, summary, licence, source and, where it needs more packages, the command to install them.

    A dataset also has its ``task``, ``size`` and how to ``obtain`` it.

    Raises:
        UnknownPartError: No such kind or name; the message has the closest match.
    """
    part = current_registry().part(kind, name)
    return {
        "kind": part.kind,
        "name": part.name,
        "summary": part.summary,
        "licence": part.licence,
        "source": part.source,
        "install": part.install_command,
        **part.details,
    }


def register_part(kind: str, name: str, target: Any = None, **description: Any) -> Any:
    """Register a part of your own; see ``Registry.register``. Works as a decorator too."""
    return current_registry().register(kind, name, target, **description)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'facekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
