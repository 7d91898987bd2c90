"""Measurements of a face picture without a model: light, contrast, sharpness, size, and pose from landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facekit.faces.images import ImageSource, open_image

PICTURE_FACTS = ("light", "contrast", "sharpness", "resolution", "colour_cast")
LANDMARK_FACTS = ("turn", "tilt", "mouth", "face_shape")

_MEASURED_SIDE = 256
_LUMA = np.array([0.299, 0.587, 0.114])
_NAMED_LIGHT = ((60.0, "dark"), (95.0, "dim"), (170.0, "even, medium"), (205.0, "bright"))
_NAMED_CONTRAST = ((28.0, "low"), (62.0, "moderate"))
_NAMED_SHARPNESS = ((2.5, "blurred"), (6.0, "slightly soft"))
_LEFT_EYE, _RIGHT_EYE, _INNER_LIPS = slice(36, 42), slice(42, 48), slice(60, 68)


def picture_facts(picture: ImageSource) -> dict[str, str]:
    """Light, contrast, sharpness, resolution and colour cast of a picture, in words.

    Light is the mean luma (ITU-R BT.601), contrast its standard deviation, sharpness the mean absolute Laplacian, at
    256 pixels or less; the bounds between words are ours.

    Raises:
        ImageError: If the picture cannot be read.
    """
    image = open_image(picture)
    width, height = image.size
    image.thumbnail((_MEASURED_SIDE, _MEASURED_SIDE))
    pixels = np.asarray(image, dtype=np.float64)
    luma = pixels @ _LUMA
    padded = np.pad(luma, 1, mode="edge")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * luma
    red, _, blue = pixels.mean(axis=(0, 1))
    return {
        "light": _name(float(luma.mean()), _NAMED_LIGHT, "very bright"),
        "contrast": _name(float(luma.std()), _NAMED_CONTRAST, "high"),
        "sharpness": _name(float(np.abs(laplacian).mean()), _NAMED_SHARPNESS, "sharp"),
        "resolution": f"{width} by {height} pixels",
        "colour_cast": "warm" if red > 1.15 * blue else "cool" if blue > 1.15 * red else "neutral",
    }


def landmark_facts(landmarks: Sequence[Any], aspect_ratio: float = 1.0) -> dict[str, str]:
    """Turn and tilt of the head, opening of the mouth, and proportion of the face, in words.

    Turn compares the nose tip's distances to both sides of the jaw; tilt is the angle of the line between the eyes;
    of a clip the frame with a face counts that is nearest to the middle.

    Args:
        landmarks: (68, 2) or (T, 68, 2), iBUG order, where a frame without a face is None or NaN.
        aspect_ratio: Width of the picture by its height, by which the landmarks are divided.

    Returns:
        Words by the fact's name; none without a face.
    """
    points = _middle_face(landmarks)
    if points is None:
        return {}
    points = points * np.array([aspect_ratio, 1.0])
    to_left, to_right = points[30, 0] - points[0, 0], points[16, 0] - points[30, 0]
    asymmetry = float((to_left - to_right) / max(abs(to_left) + abs(to_right), 1e-6))
    left, right = points[_LEFT_EYE].mean(axis=0), points[_RIGHT_EYE].mean(axis=0)
    angle = float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    lips = points[_INNER_LIPS]
    eyes_apart = max(float(np.linalg.norm(right - left)), 1e-6)
    opening = float(np.ptp(lips[:, 1])) / eyes_apart
    proportion = float(np.ptp(points[:17, 0]) / max(np.ptp(points[:, 1]), 1e-6))
    side = "right" if asymmetry > 0 else "left"
    return {
        "turn": "faces the camera" if abs(asymmetry) < 0.15 else f"is turned towards the {side} of the picture",
        "tilt": "upright" if abs(angle) < 6 else f"tilted by about {abs(angle):.0f} degrees",
        "mouth": "closed" if opening < 0.08 else "slightly open" if opening < 0.3 else "open",
        "face_shape": "long" if proportion < 0.85 else "wide" if proportion > 1.15 else "of balanced proportion",
    }


def _middle_face(landmarks: Sequence[Any]) -> np.ndarray | None:
    frames = [landmarks] if np.ndim(landmarks[0]) == 1 else landmarks
    middle = len(frames) // 2
    for index in sorted(range(len(frames)), key=lambda index: abs(index - middle)):
        points = np.asarray(np.nan if frames[index] is None else frames[index], dtype=np.float64)
        if np.isfinite(points).all():
            return points
    return None


def _name(value: float, limits: Sequence[tuple[float, str]], last: str) -> str:
    return next((name for limit, name in limits if value < limit), last)
