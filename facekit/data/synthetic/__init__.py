"""Synthetic faces with exact labels and landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.data.synthetic.faces import SyntheticClip, SyntheticFace, draw_clip, draw_face, draw_parameters
    from facekit.data.synthetic.parameters import FaceParameters
    from facekit.data.synthetic.writing import RENDERER_VERSION, face_seed, write_synthetic_dataset

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "faces": ["SyntheticClip", "SyntheticFace", "draw_clip", "draw_face", "draw_parameters"],
        "parameters": ["FaceParameters"],
        "writing": ["RENDERER_VERSION", "face_seed", "write_synthetic_dataset"],
    },
)
