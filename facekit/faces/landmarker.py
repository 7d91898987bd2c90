"""The interface of landmarkers: a picture in, faces out, each with a box and 68 landmarks in pixels.

MediaPipe's mesh, dlib, FAN and landmarks from a file implement it, one file each; ``facekit.faces.prepare`` calls it.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image

from facekit.catalog import current_registry
from facekit.errors import ConfigurationError, ImageError, MissingExtraError
from facekit.faces.layout import FACE_REGIONS, NUM_LANDMARKS
from facekit.spec import PartSpec

QUARTER_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180)


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """One face in a picture.

    Pixel coordinates are continuous: (0, 0) is the upper left corner of the picture and (width, height) its lower
    right one, so the centre of the first pixel is (0.5, 0.5).

    Args:
        box: Left, top, right, bottom in pixels; it may reach out of the picture.
        score: The detector's confidence on its own scale; 1.0 where it gives none.
        landmarks: ``(68, 2)`` float32, iBUG-68, x then y in pixels, all finite.
        found_size: The longer side in pixels of the box that the detector found, where ``box`` is another one, drawn
            around the landmarks; None where it is the same.

    Raises:
        ConfigurationError: The landmarks have another shape or are not finite, or the box has no area.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray
    found_size: float | None = None

    def __post_init__(self) -> None:
        landmarks = np.asarray(self.landmarks, dtype=np.float32)
        if landmarks.shape != (NUM_LANDMARKS, 2):
            raise ConfigurationError(f"a face has landmarks of shape ({NUM_LANDMARKS}, 2), not {landmarks.shape}")
        if not np.isfinite(landmarks).all():
            raise ConfigurationError("a face has finite landmarks; leave a face without them out of the list")
        left, top, right, bottom = (float(edge) for edge in self.box)
        if not (right > left and bottom > top):
            raise ConfigurationError(f"a face's box runs from left, top to right, bottom, unlike {self.box}")
        object.__setattr__(self, "landmarks", landmarks)
        object.__setattr__(self, "box", (left, top, right, bottom))

    @property
    def size(self) -> float:
        """The longer side in pixels of the box that the detector found."""
        if self.found_size is not None:
            return self.found_size
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)


@dataclass(frozen=True, eq=False)
class LargestFace:
    """The largest face of a picture.

    Args:
        face: The face.
        count: How many faces of the picture are large enough, this one among them where it is.
    """

    face: DetectedFace
    count: int


class Landmarker(ABC):
    """Finds faces and their 68 landmarks. A subclass implements ``find_faces`` and ``from_spec``.

    Every landmarker can be used by several threads at once.

    Attributes:
        second_look: Whether a picture without a face is searched again, turned by 90, 270 and 180 degrees, and one
            whose largest face lies on its side or upside down, turned so that it is upright: phones and scanners store
            such pictures. The surer find counts. A landmarker that does not look at the pixels sets it to False.
    """

    second_look: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def from_spec(cls, argument: str | None, *args: Any, **options: Any) -> Self:
        """Build the landmarker from the parts of a spec string ``name:argument?option=value``.

        Args:
            argument: What stands after the ``:``.
            *args: None; it stands here so that a subclass may name its options.
            **options: The spec's options. A subclass names them as keyword-only arguments with types, by which
                ``facekit.spec`` reads their text.

        Raises:
            InvalidSpecError: The argument or an option cannot be used.
            MissingExtraError: A package that it needs is not installed.
        """

    @abstractmethod
    def find_faces(self, image: Image.Image) -> list[DetectedFace]:
        """Return the faces of an RGB image, in any order; none is an empty list."""

    def detect(self, image: Image.Image) -> list[DetectedFace]:
        """Return the faces of a picture.

        Args:
            image: An RGB image, as ``facekit.faces.open_image`` returns it.

        Returns:
            The faces, largest first; of equal ones the one further left. No face gives an empty list. Boxes and
            landmarks are those of the picture as it was given, also where only its turned copy showed a face.

        Raises:
            ImageError: The image is not an RGB one.
        """
        _require_rgb(image)
        faces = sorted(self.find_faces(image), key=_by_size)
        if not faces:
            return sorted(self._find_turned(image), key=_by_size)
        turn = self._turn_upright(faces[0])
        if turn is not None:
            upright = sorted(self.find_faces(image.transpose(turn)), key=_by_size)
            if upright and upright[0].score > faces[0].score:
                faces = sorted((_turn_back(face, turn, image.size) for face in upright), key=_by_size)
        return faces

    def detect_largest(self, image: Image.Image, *, min_face_size: float = 0.0) -> LargestFace | None:
        """Return the first face that ``detect`` returns, and how many there are; None without any.

        A landmarker whose landmarks cost time leaves out those of the others.

        Args:
            image: An RGB image.
            min_face_size: The size from which faces are counted, in pixels on a box's longer side.

        Raises:
            ImageError: The image is not an RGB one.
        """
        _require_rgb(image)
        largest = self.find_largest(image, min_face_size)
        if largest is None:
            return _take_largest(self._find_turned(image), min_face_size)
        turn = self._turn_upright(largest.face)
        if turn is not None:
            upright = self.find_largest(image.transpose(turn), min_face_size)
            if upright is not None and upright.face.score > largest.face.score:
                largest = LargestFace(_turn_back(upright.face, turn, image.size), upright.count)
        return largest

    def find_largest(self, image: Image.Image, min_face_size: float) -> LargestFace | None:
        """The largest face of an RGB image, not turned, for ``detect_largest``; a subclass may have a shorter way."""
        return _take_largest(self.find_faces(image), min_face_size)

    def _turn_upright(self, face: DetectedFace) -> Image.Transpose | None:
        """The turn of the picture that makes a face upright; None without the second look, and where it is already."""
        if not self.second_look:
            return None
        right_eye, left_eye = (face.landmarks[FACE_REGIONS[eye]].mean(axis=0) for eye in ("eye1", "eye2"))
        x, y = left_eye - right_eye
        if abs(y) <= abs(x):
            return Image.Transpose.ROTATE_180 if x < 0 else None
        return Image.Transpose.ROTATE_90 if y > 0 else Image.Transpose.ROTATE_270

    def _find_turned(self, image: Image.Image) -> list[DetectedFace]:
        """The faces of the turned copy that shows them with the best score; none without the second look."""
        if not self.second_look:
            return []
        best: list[DetectedFace] = []
        for turn in QUARTER_TURNS:
            faces = self.find_faces(image.transpose(turn))
            if sum(face.score for face in faces) > sum(face.score for face in best):
                best = [_turn_back(face, turn, image.size) for face in faces]
        return best


def _require_rgb(image: object) -> None:
    if not isinstance(image, Image.Image) or image.mode != "RGB":
        found = f"mode '{image.mode}'" if isinstance(image, Image.Image) else type(image).__name__
        raise ImageError(f"a landmarker takes an RGB PIL image, not {found}; open it with facekit.faces.open_image")


def _take_largest(faces: list[DetectedFace], min_face_size: float) -> LargestFace | None:
    if not faces:
        return None
    return LargestFace(min(faces, key=_by_size), sum(face.size >= min_face_size for face in faces))


def _turn_back(face: DetectedFace, turn: Image.Transpose, size: tuple[int, int]) -> DetectedFace:
    """A face of a turned copy in the frame of the picture of that width and height."""
    left, top, right, bottom = face.box
    points = np.array([(left, top), (right, bottom), *face.landmarks], dtype=np.float64)
    x, y = points[:, 0], points[:, 1]
    width, height = size
    if turn == Image.Transpose.ROTATE_90:
        points = np.stack([width - y, x], axis=1)
    elif turn == Image.Transpose.ROTATE_270:
        points = np.stack([y, height - x], axis=1)
    else:
        points = np.stack([width - x, height - y], axis=1)
    return DetectedFace(landmark_bounds(points[:2]), face.score, points[2:].astype(np.float32), face.found_size)


def _by_size(face: DetectedFace) -> tuple[float, tuple[float, float, float, float]]:
    """The key that sorts faces largest first; of equal ones the one further left."""
    return -face.size, face.box


def load_landmarker(spec: str) -> Landmarker:
    """Build the landmarker that a spec string names.

    Raises:
        UnknownPartError: There is none of that name; the message has the closest one.
        InvalidSpecError: The argument or an option cannot be used.
        MissingExtraError: A package that it needs is not installed.
        ConfigurationError: What is registered under that name is no landmarker.
    """
    parsed = PartSpec.parse(spec)
    landmarker = current_registry().build("landmarker", parsed)
    if not isinstance(landmarker, Landmarker):
        raise ConfigurationError(f"'{parsed.name}' is registered as a landmarker but is a {type(landmarker).__name__}")
    return landmarker


def require_packages(landmarker: str, extra: str, *packages: str) -> None:
    """Check that packages can be found, without importing them.

    Raises:
        MissingExtraError: One cannot; the message has the install command.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"landmarker '{landmarker}' needs {', '.join(missing)}; install with: pip install 'facekit-mllm[{extra}]'"
        )


def landmark_bounds(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of points ``(..., 2)``."""
    points = np.asarray(landmarks, dtype=np.float64).reshape(-1, 2)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return float(left), float(top), float(right), float(bottom)
