"""Synthetic faces with exact labels and landmarks; names load when they are first used."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "faces": ["SyntheticClip", "SyntheticFace", "draw_clip", "draw_face", "draw_parameters"],
        "parameters": ["FaceParameters"],
        "writing": ["RENDERER_VERSION", "face_seed", "write_synthetic_dataset"],
    },
)
