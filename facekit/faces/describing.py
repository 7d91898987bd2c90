"""``describe_face`` and ``describe_medium``: where a face is in its picture, as JSON values."""

from __future__ import annotations

from typing import Any

import numpy as np

from facekit.faces.clips import CroppedClip
from facekit.faces.crop import CroppedFace

__all__ = ["describe_face", "describe_medium"]


def describe_medium(medium: CroppedFace | CroppedClip, *, landmarks: bool = True) -> dict[str, Any]:
    """Say of a picture what ``describe_face`` does, and of a clip the same of each frame.

    Args:
        medium: The crop.
        landmarks: Whether to list the 68 points.

    Returns:
        ``{"type": "image", "face_found": ...}`` or ``{"type": "video", "frames": [...]}``.
    """
    if isinstance(medium, CroppedClip):
        return {"type": "video", "frames": [describe_face(face, landmarks=landmarks) for face in medium.frames]}
    return {"type": "image", **describe_face(medium, landmarks=landmarks)}


def describe_face(face: CroppedFace, *, landmarks: bool = True) -> dict[str, Any]:
    """Say where a face is, in pixels of the picture that its crop was cut from.

    Args:
        face: The crop.
        landmarks: Whether to list the 68 points.

    Returns:
        ``face_found``; ``box``, left, top, right and bottom of the landmarks, or None; ``landmarks``, 68 pairs or None;
        ``crop``, the square that the model sees.
    """
    points = None if face.landmarks is None else face.to_picture(face.landmarks)
    box = None if points is None else [*points.min(axis=0), *points.max(axis=0)]
    found: dict[str, Any] = {
        "face_found": points is not None,
        "box": None if box is None else [round(float(value), 2) for value in box],
    }
    if landmarks:
        found["landmarks"] = None if points is None else np.round(points.astype(float), 2).tolist()
    return {**found, "crop": list(face.box)}
