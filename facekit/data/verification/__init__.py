"""Whether what facekit wrote is whole: records, shards, features, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.data.verification.checked import Checked
    from facekit.data.verification.folder import Verification, verify

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checked": ["Checked"],
        "folder": ["Verification", "verify"],
    },
)
