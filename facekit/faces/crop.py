"""Square crops around faces, and points mapped into a crop and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facekit.errors import ConfigurationError
from facekit.faces.images import NEUTRAL_COLOUR
from facekit.faces.landmarker import DetectedFace, landmark_bounds
from facekit.faces.layout import NUM_LANDMARKS

DEFAULT_MARGIN = 0.25
LARGEST_MARGIN = 4.0
LARGEST_CROP_SIDE = 1024
"""A larger crop is shrunk to this side in pixels, which bounds the memory that a huge picture can take."""


@dataclass(frozen=True, eq=False)
class CroppedFace:
    """A square picture of one face, or of a whole picture where no face was found.

    Args:
        image: Square, RGB.
        landmarks: ``(68, 2)`` float32, iBUG-68, x then y in [0, 1] of ``image``, also where they lie in its padding;
            None without a face.
        box: Left, top, right, bottom of the crop in whole pixels of the picture it was cut from; what reaches out of
            that picture was padded.
        index: The index of the face among those detected, largest first; None without a face.
    """

    image: Image.Image
    landmarks: np.ndarray | None
    box: tuple[int, int, int, int]
    index: int | None

    @property
    def landmarks_or_absent(self) -> np.ndarray:
        """The landmarks, or ``(68, 2)`` NaN, which is how absent ones travel in batches."""
        return np.full((NUM_LANDMARKS, 2), np.nan, np.float32) if self.landmarks is None else self.landmarks

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Return points ``(..., 2)`` in [0, 1] of the crop as pixels of the picture that it was cut from."""
        return np.asarray(points) * (self.box[2] - self.box[0]) + np.array(self.box[:2])

    def from_picture(self, points: np.ndarray) -> np.ndarray:
        """Return points ``(..., 2)`` in pixels of the picture as coordinates in [0, 1] of the crop."""
        return (np.asarray(points) - np.array(self.box[:2])) / (self.box[2] - self.box[0])


def crop_face(
    image: Image.Image,
    face: DetectedFace,
    *,
    margin: float = DEFAULT_MARGIN,
    index: int = 0,
    padding: tuple[int, int, int] = NEUTRAL_COLOUR,
) -> CroppedFace:
    """Cut a square around a face.

    The square is centred on the smallest rectangle that holds the detector's box and all landmarks.

    Args:
        image: An RGB image.
        face: A face of it.
        margin: Added on each side of that rectangle's longer side, as a fraction of it.
        index: The face's index among those detected, kept in the result.
        padding: Red, green, blue of what lies outside the image.

    Returns:
        The crop at the image's own resolution, or shrunk to a side of ``LARGEST_CROP_SIDE``.

    Raises:
        ConfigurationError: The margin is out of its range.
    """
    if not 0 <= margin <= LARGEST_MARGIN:
        raise ConfigurationError(
            f"the crop's margin is a fraction of the face from 0 to {LARGEST_MARGIN}, not {margin}"
        )
    left, top, right, bottom = landmark_bounds(np.concatenate([face.landmarks, np.reshape(face.box, (2, 2))]))
    side = max(2, math.ceil(max(right - left, bottom - top) * (1 + 2 * margin)))
    corner_x, corner_y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    box = (corner_x, corner_y, corner_x + side, corner_y + side)
    landmarks = ((face.landmarks.astype(np.float64) - box[:2]) / side).astype(np.float32)
    return CroppedFace(cut_square(image, box, padding), landmarks, box, index)


def pad_to_square(image: Image.Image, *, padding: tuple[int, int, int] = NEUTRAL_COLOUR) -> CroppedFace:
    """Return a whole picture as a square, padded evenly on its two shorter sides, without landmarks."""
    side = max(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return CroppedFace(cut_square(image, box, padding), None, box, None)


def cut_square(image: Image.Image, box: tuple[int, int, int, int], padding: tuple[int, int, int]) -> Image.Image:
    """Return the square ``box`` of an image, padded where it reaches out, at most ``LARGEST_CROP_SIDE`` wide."""
    left, top, right, bottom = box
    side = right - left
    width = min(side, LARGEST_CROP_SIDE)
    scale = width / side
    square = Image.new("RGB", (width, width), padding)
    x0, x1 = math.ceil(max(0, -left) * scale), math.floor((min(image.width, right) - left) * scale)
    y0, y1 = math.ceil(max(0, -top) * scale), math.floor((min(image.height, bottom) - top) * scale)
    if x1 <= x0 or y1 <= y0:
        return square
    source = (left + x0 / scale, top + y0 / scale, left + x1 / scale, top + y1 / scale)
    if width == side:
        square.paste(image.crop(source), (x0, y0))
    else:
        within = (max(0.0, source[0]), max(0.0, source[1]), min(image.width, source[2]), min(image.height, source[3]))
        square.paste(image.resize((x1 - x0, y1 - y0), Image.Resampling.LANCZOS, box=within, reducing_gap=3.0), (x0, y0))
    return square
