"""A landmarker that reads landmarks from a ``.npy`` file, for pictures annotated or preprocessed elsewhere.

Files do not say what their numbers mean, so the spec does: pixels, normalised, or the 256-pixel crop of Face-LLaVA.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import numpy as np
from PIL import Image

from facekit.errors import ConfigurationError, InvalidSpecError, RecordError
from facekit.faces.array_files import read_array
from facekit.faces.landmarker import DetectedFace, Landmarker, landmark_bounds
from facekit.faces.layout import NUM_LANDMARKS

COORDINATES = ("pixels", "normalised", "crop256")
CROP_SIDE = 256
LARGEST_COUNT = 100_000


class GivenLandmarker(Landmarker):
    """Faces whose landmarks were given.

    The box of a face is that of its landmarks, and its score 1.0. Rows of NaN (no face there) are left out.

    Args:
        path: A ``.npy`` file of shape ``(68, 2)`` or ``(faces, 68, 2)``, iBUG-68, x then y.
        coordinates: ``pixels`` of the picture; ``normalised`` to [0, 1] of it; or ``crop256``: the picture is the face
            crop, of whatever size now, and the landmarks are in pixels of it at 256 x 256 (released Face-LLaVA data).

    Raises:
        ConfigurationError: ``coordinates`` is none of these.
        RecordError: The file is missing, is not such an array, or has more faces than ``LARGEST_COUNT``.
    """

    second_look = False

    def __init__(self, path: str | Path, *, coordinates: str) -> None:
        if coordinates not in COORDINATES:
            raise ConfigurationError(f"coordinates is one of {', '.join(COORDINATES)}, not '{coordinates}'")
        self.path = Path(path).expanduser()
        self.coordinates = coordinates
        self.landmarks = read_landmarks(self.path)

    @classmethod
    def from_spec(
        cls, argument: str | None = None, *, coordinates: Literal["pixels", "normalised", "crop256"] | None = None
    ) -> Self:
        """Build from ``given:FILE.npy?coordinates=pixels|normalised|crop256``.

        Raises:
            InvalidSpecError: The path or ``coordinates`` is missing.
            RecordError: What the constructor raises about the file.
        """
        if argument is None or coordinates is None:
            raise InvalidSpecError(
                "landmarker 'given' needs a file and what its numbers mean: "
                f"given:{argument or 'FILE.npy'}?coordinates={'|'.join(COORDINATES)}"
            )
        return cls(argument, coordinates=coordinates)

    def find_faces(self, image: Image.Image) -> list[DetectedFace]:
        """Return the given faces in pixels of an RGB image, in the file's order.

        Raises:
            RecordError: A face lies outside the image, which means that the coordinates are other ones.
        """
        unit = {"pixels": (1.0, 1.0), "normalised": image.size}.get(
            self.coordinates, (image.width / CROP_SIDE, image.height / CROP_SIDE)
        )
        present = np.isfinite(self.landmarks).all(axis=(1, 2))
        return [self._face(points, image) for points in self.landmarks[present] * np.array(unit, dtype=np.float32)]

    def _face(self, points: np.ndarray, image: Image.Image) -> DetectedFace:
        left, top, right, bottom = box = landmark_bounds(points)
        x, y = (left + right) / 2, (top + bottom) / 2
        inside = 0 <= x <= image.width and 0 <= y <= image.height
        if not inside or max(right - left, bottom - top) > 2 * max(image.size) or min(right - left, bottom - top) <= 1:
            raise RecordError(
                f"'{self.path}' has a face of {right - left:.1f} x {bottom - top:.1f} pixels around ({x:.1f}, {y:.1f}) "
                f"for a picture of {image.width} x {image.height}; its coordinates are not {self.coordinates}"
            )
        return DetectedFace(box, 1.0, points)


def read_landmarks(path: str | Path) -> np.ndarray:
    """Read landmarks from a ``.npy`` file.

    Args:
        path: A file of shape ``(68, 2)`` or ``(F, 68, 2)``: faces of a picture or frames of a clip.

    Returns:
        ``(F, 68, 2)`` float32, with one row for ``(68, 2)``; the coordinates are those of the file.

    Raises:
        RecordError: The file is missing, not a ``.npy`` array of numbers, of another shape, or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise RecordError(f"there is no landmarks file '{path}'; check the path")
    try:
        array = read_array(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise RecordError(f"'{path}' is not a .npy array of numbers ({error}); write it with numpy.save") from error
    shape: tuple[int, ...] = array.shape
    if shape[-2:] != (NUM_LANDMARKS, 2) or len(shape) not in (2, 3) or array.dtype.kind not in "fiu":
        raise RecordError(
            f"'{path}' has shape {shape}; landmarks are ({NUM_LANDMARKS}, 2) or (faces, {NUM_LANDMARKS}, 2) numbers"
        )
    if len(shape) == 3 and shape[0] > LARGEST_COUNT:
        raise RecordError(f"'{path}' has {shape[0]:,} faces, above the bound of {LARGEST_COUNT:,}; split it")
    return np.array(array, dtype=np.float32).reshape(-1, NUM_LANDMARKS, 2)
