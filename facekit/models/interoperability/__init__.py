"""Other people's checkpoints: recognised, read into the composed model, written back, and described unread.

It is apart from the model because only here the names and habits of other formats are known. Names resolve on first
use; ``facekit.load`` is the public way in.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facekit.models.interoperability.inspection import CheckpointReport, inspect_checkpoint
    from facekit.models.interoperability.recognition import CheckpointFormat, recognise
    from facekit.models.interoperability.writing import EXPORT_FORMATS, export

_HOMES = {
    "EXPORT_FORMATS": "writing",
    "CheckpointFormat": "recognition",
    "CheckpointReport": "inspection",
    "export": "writing",
    "inspect_checkpoint": "inspection",
    "recognise": "recognition",
}

__all__ = ["EXPORT_FORMATS", "CheckpointFormat", "CheckpointReport", "export", "inspect_checkpoint", "recognise"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
