"""Checkpoints of other libraries: recognising, reading, writing and inspecting them.

Names resolve on first use; ``facekit.load`` is the public way in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.models.interoperability.inspection import CheckpointReport, inspect_checkpoint
    from facekit.models.interoperability.recognition import CheckpointFormat, recognise
    from facekit.models.interoperability.writing import EXPORT_FORMATS, export

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "inspection": ["CheckpointReport", "inspect_checkpoint"],
        "recognition": ["CheckpointFormat", "recognise"],
        "writing": ["EXPORT_FORMATS", "export"],
    },
)
