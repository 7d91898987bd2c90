"""MediaPipe's Face Landmarker as a landmarker: 68 landmarks derived from its 478 mesh points.

The package ships no model and facekit downloads none: the path of a ``.task`` bundle is the spec's argument.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from PIL import Image

from facekit.errors import InvalidSpecError, first_line
from facekit.faces.landmarker import DetectedFace, Landmarker, landmark_bounds, require_packages
from facekit.faces.mediapipe_mapping import landmarks_from_mesh
from facekit.spec import PositiveInt, Range

MODEL_PAGE = "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker"


class MediaPipeLandmarker(Landmarker):
    """Faces and mesh from MediaPipe Tasks, mapped to 68 landmarks.

    Its detector is made for faces near the camera; those much smaller than a tenth of the picture are not found. The
    box of a face is that of its whole mesh, and the score is 1.0, since the task reports none.

    Args:
        model_path: A ``face_landmarker.task`` bundle (see ``MODEL_PAGE``).
        max_faces: The most faces to look for.
        threshold: The least confidence of detection and of presence, from 0 to 1.

    Raises:
        MissingExtraError: mediapipe is not installed.
        InvalidSpecError: The model file does not exist or is not a bundle, or a value is out of its range.
    """

    def __init__(self, model_path: str | Path, *, max_faces: int = 8, threshold: float = 0.5) -> None:
        require_packages("mediapipe", "mediapipe", "mediapipe")
        self.model_path = Path(model_path).expanduser()
        if not self.model_path.is_file():
            raise InvalidSpecError(
                f"landmarker 'mediapipe' finds no model file '{model_path}'; get it from {MODEL_PAGE}"
            )
        if not zipfile.is_zipfile(self.model_path):
            raise InvalidSpecError(f"'{model_path}' is not a MediaPipe .task bundle; get one from {MODEL_PAGE}")
        if max_faces < 1 or not 0 <= threshold <= 1:
            raise InvalidSpecError(
                "landmarker 'mediapipe' takes max_faces from 1 and a threshold from 0 to 1, "
                f"not {max_faces} and {threshold}"
            )
        self.max_faces = max_faces
        self.threshold = threshold

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        max_faces: PositiveInt = 8,
        threshold: Annotated[float, Range(0, 1)] = 0.5,
    ) -> Self:
        """Build from ``mediapipe:MODEL.task[?max_faces=8&threshold=0.5]``.

        Raises:
            MissingExtraError: mediapipe is not installed.
            InvalidSpecError: The model is missing or not a bundle.
        """
        if argument is None:
            raise InvalidSpecError(
                f"landmarker 'mediapipe' needs a model: mediapipe:face_landmarker.task, which is at {MODEL_PAGE}"
            )
        return cls(argument, max_faces=max_faces, threshold=threshold)

    def find_faces(self, image: Image.Image) -> list[DetectedFace]:
        """Return the faces of an RGB image, in the detector's order.

        The task is built anew each time: one that outlives the call cannot be closed cleanly when Python exits.

        Raises:
            InvalidSpecError: MediaPipe cannot load the model.
        """
        import mediapipe

        pixels = np.ascontiguousarray(np.asarray(image))
        with self._load_task() as task:
            result = task.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels))
        faces = []
        for points in result.face_landmarks:
            mesh = np.array([(point.x * image.width, point.y * image.height) for point in points], dtype=np.float32)
            faces.append(DetectedFace(landmark_bounds(mesh), 1.0, landmarks_from_mesh(mesh)))
        return faces

    def _load_task(self) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self.model_path)),
            num_faces=self.max_faces,
            min_face_detection_confidence=self.threshold,
            min_face_presence_confidence=self.threshold,
        )
        try:
            return vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise InvalidSpecError(f"MediaPipe cannot load '{self.model_path}': {first_line(error)}") from error
