"""Faces in pictures: opening, detection, landmarks, crops, regions, frames and overlays.

Names are loaded when they are first used, so that importing the package costs neither torch nor a detector.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facekit.faces.clips import CroppedClip, draw_clip_overlay, prepare_clip
    from facekit.faces.crop import CroppedFace, crop_face, pad_to_square
    from facekit.faces.frames import choose_frames
    from facekit.faces.images import open_image
    from facekit.faces.landmarker import DetectedFace, Landmarker
    from facekit.faces.layout import FACE_REGIONS, NUM_LANDMARKS, REGION_LABELS
    from facekit.faces.overlay import draw_overlay
    from facekit.faces.prepare import prepare_face, prepare_faces, select_faces
    from facekit.faces.regions import patch_centers, region_centroids, region_patch_proximity
    from facekit.faces.video import Clip, is_video, read_clip

_HOMES = {
    "CroppedClip": "clips",
    "draw_clip_overlay": "clips",
    "prepare_clip": "clips",
    "CroppedFace": "crop",
    "crop_face": "crop",
    "pad_to_square": "crop",
    "choose_frames": "frames",
    "open_image": "images",
    "DetectedFace": "landmarker",
    "Landmarker": "landmarker",
    "FACE_REGIONS": "layout",
    "NUM_LANDMARKS": "layout",
    "REGION_LABELS": "layout",
    "draw_overlay": "overlay",
    "prepare_face": "prepare",
    "prepare_faces": "prepare",
    "select_faces": "prepare",
    "patch_centers": "regions",
    "region_centroids": "regions",
    "region_patch_proximity": "regions",
    "Clip": "video",
    "is_video": "video",
    "read_clip": "video",
}

__all__ = [
    "FACE_REGIONS",
    "NUM_LANDMARKS",
    "REGION_LABELS",
    "Clip",
    "CroppedClip",
    "CroppedFace",
    "DetectedFace",
    "Landmarker",
    "choose_frames",
    "crop_face",
    "draw_clip_overlay",
    "draw_overlay",
    "is_video",
    "open_image",
    "pad_to_square",
    "patch_centers",
    "prepare_clip",
    "prepare_face",
    "prepare_faces",
    "read_clip",
    "region_centroids",
    "region_patch_proximity",
    "select_faces",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
