"""dlib's HOG face detector and its 68-point regression trees, offline and without a GPU.

Detection runs on a copy of bounded size, enlarged step by step where no face is found; the landmarks are then refined
on the face alone at full resolution.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import threading
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from PIL import Image

from facekit.errors import InvalidSpecError, MissingExtraError
from facekit.faces.landmarker import DetectedFace, Landmarker, require_packages
from facekit.faces.layout import NUM_LANDMARKS
from facekit.spec import Range

DETECTION_SIDE = 1024
"""The longer side, in pixels, of the first copy that is searched; dlib finds faces of about 80 pixels and more."""

LARGEST_DETECTION_SIDE = 4096
LARGEST_ENLARGEMENT = 4.0
CONFIDENT_SCORE = 0.35
"""A face with a lower score counts only where no search finds a better one.

In ``skimage.data.astronaut()`` at 100 sizes from 300 to 1389 pixels, false finds score at most 0.30, and the face,
where it spans 60 pixels or more, at least 0.73. In the 25 other pictures of scikit-image 0.26 nothing reaches 0.
"""

REFINED_FACE_SIDE = 256
MODEL_PACKAGE = "face_recognition_models"
MODEL_FILE = "shape_predictor_68_face_landmarks.dat"

Box = tuple[float, float, float, float]


class DlibLandmarker(Landmarker):
    """Faces from dlib's frontal detector, landmarks from its 68-point shape predictor.

    It finds faces that look roughly at the camera and are rolled by up to about 30 degrees. Sources: King, "Dlib-ml",
    JMLR 2009; Kazemi and Sullivan, "One millisecond face alignment", CVPR 2014. The landmark model of the package
    ``face-recognition-models`` was trained on iBUG 300-W, which excludes commercial use.

    Args:
        model_path: A 68-point shape predictor (``.dat``); the one of ``face-recognition-models`` if None.
        threshold: The least detection score. Faces between it and ``CONFIDENT_SCORE`` are returned only where there is
            no other.
        upscale: How often the searched copy is doubled. None: only while no face is found. A number: always so often,
            which finds small faces beside large ones and costs four times as much for each step.

    Raises:
        MissingExtraError: dlib or the package of models is not installed.
        InvalidSpecError: The model file does not exist, or ``upscale`` is negative.
    """

    def __init__(
        self, model_path: str | Path | None = None, *, threshold: float = 0.0, upscale: int | None = None
    ) -> None:
        require_packages("dlib", "dlib", "dlib")
        if upscale is not None and upscale < 0:
            raise InvalidSpecError(f"landmarker 'dlib' takes upscale=auto or a number from 0, not {upscale}")
        self.model_path = _packaged_model() if model_path is None else Path(model_path).expanduser()
        if not self.model_path.is_file():
            raise InvalidSpecError(f"landmarker 'dlib' finds no model file '{self.model_path}'; check the path")
        self.threshold = threshold
        self.upscale = upscale

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        threshold: float = 0.0,
        upscale: Annotated[int, Range(0)] | Literal["auto"] = "auto",
    ) -> Self:
        """Build from ``dlib[:MODEL.dat][?threshold=0.0&upscale=auto]``.

        Raises:
            MissingExtraError: dlib or the package of models is not installed.
            InvalidSpecError: The model file does not exist.
        """
        return cls(argument, threshold=threshold, upscale=None if upscale == "auto" else upscale)

    def find_faces(self, image: Image.Image) -> list[DetectedFace]:
        """Return the faces of an RGB image, in the detector's order."""
        for scale, threshold in self._searches(image.size):
            found = _search(image, scale, threshold)
            if found:
                return [DetectedFace(box, score, self._landmarks(image, box)) for box, score in found]
        return []

    def _searches(self, size: tuple[int, int]) -> list[tuple[float, float]]:
        """Scales to search one after the other until a face is found, each with its threshold."""
        first = min(1.0, DETECTION_SIDE / max(size))
        largest = max(first, min(LARGEST_ENLARGEMENT, LARGEST_DETECTION_SIDE / max(size)))
        if self.upscale is None:
            scales = [first]
            while scales[-1] * 2 <= largest:
                scales.append(scales[-1] * 2)
        else:
            scales = [min(first * 2.0**self.upscale, largest)]
        searches = [(scale, max(self.threshold, CONFIDENT_SCORE)) for scale in scales]
        return [*searches, (scales[0], self.threshold)] if self.threshold < CONFIDENT_SCORE else searches

    def _landmarks(self, image: Image.Image, box: Box) -> np.ndarray:
        """Predict on the face alone at a fixed size: dlib rounds to whole pixels, here a small part of the face."""
        import dlib

        left, top, right, bottom = box
        side = max(right - left, bottom - top)
        window_left, window_top = math.floor(left - side / 2), math.floor(top - side / 2)
        window = (window_left, window_top, math.ceil(right + side / 2), math.ceil(bottom + side / 2))
        scale = REFINED_FACE_SIDE / side
        face = _resize(image.crop(window), scale)
        rectangle = dlib.rectangle(
            *(round((edge - start) * scale) for edge, start in zip(box[:2], window[:2], strict=True)),
            *(round((edge - start) * scale) - 1 for edge, start in zip(box[2:], window[:2], strict=True)),
        )
        with _predicting:
            points = _load_predictor(self.model_path)(np.asarray(face), rectangle).parts()
        if len(points) != NUM_LANDMARKS:
            raise InvalidSpecError(
                f"landmarker 'dlib' needs a model of {NUM_LANDMARKS} points; '{self.model_path}' has {len(points)}"
            )
        ratio = np.array([face.width, face.height]) / [window[2] - window[0], window[3] - window[1]]
        return (np.array([(point.x + 0.5, point.y + 0.5) for point in points]) / ratio + window[:2]).astype(np.float32)


def _search(image: Image.Image, scale: float, threshold: float) -> list[tuple[Box, float]]:
    copy = _resize(image, scale)
    ratio_x, ratio_y = copy.width / image.width, copy.height / image.height
    rectangles, scores, _ = _load_detector().run(np.asarray(copy), 0, threshold)
    return [
        ((r.left() / ratio_x, r.top() / ratio_y, (r.right() + 1) / ratio_x, (r.bottom() + 1) / ratio_y), float(score))
        for r, score in zip(rectangles, scores, strict=True)
    ]


def _resize(image: Image.Image, scale: float) -> Image.Image:
    if scale == 1.0:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _packaged_model() -> Path:
    # The package is found but not imported: its __init__ needs pkg_resources, which new setuptools lacks.
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            f"landmarker 'dlib' needs {MODEL_PACKAGE}; install with: pip install 'facekit-mllm[dlib]', "
            "or give a model: dlib:MODEL.dat"
        )
    return Path(spec.origin).parent / "models" / MODEL_FILE


_of_thread = threading.local()
_predicting = threading.Lock()


def _load_detector() -> Any:
    # A detector keeps the image pyramid that it works on: two threads in one detector end the process.
    import dlib

    if not hasattr(_of_thread, "detector"):
        _of_thread.detector = dlib.get_frontal_face_detector()
    return _of_thread.detector


@functools.lru_cache(maxsize=2)
def _load_predictor(path: Path) -> Any:
    import dlib

    try:
        predictor = dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise InvalidSpecError(f"landmarker 'dlib' cannot read '{path}' as a shape predictor: {error}") from error
    return predictor
