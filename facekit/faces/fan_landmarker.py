"""The face alignment network (FAN) as a landmarker, through the package ``face-alignment``.

That package fetches its weights when they are first used; facekit lets it do so only where the user says ``download``.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self
from urllib.parse import urlparse

import numpy as np
from PIL import Image

from facekit.compat.face_alignment import uncompiled, weight_urls
from facekit.errors import InvalidSpecError
from facekit.faces.landmarker import DetectedFace, Landmarker, require_packages
from facekit.spec import Range

DETECTION_SIDE = 1024
"""The longer side, in pixels, of the copy in which S3FD looks for faces; it finds faces of about 20 pixels in it."""


class FanLandmarker(Landmarker):
    """Faces from S3FD and landmarks from the 2D face alignment network.

    Source: Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017.

    Args:
        device: Where the networks run, such as ``cpu`` or ``cuda``.
        threshold: The least detection confidence, from 0 to 1.
        download: Whether weights that are not in torch's hub folder may be fetched from the authors' site.

    Raises:
        MissingExtraError: face-alignment is not installed.
        InvalidSpecError: The threshold is out of its range, or weights are neither here nor may be fetched.
    """

    def __init__(self, *, device: str = "cpu", threshold: float = 0.5, download: bool = False) -> None:
        require_packages("fan", "fan", "face_alignment")
        if not 0 <= threshold <= 1:
            raise InvalidSpecError(f"landmarker 'fan' takes a threshold from 0 to 1, not {threshold}")
        self.device = device
        self.threshold = threshold
        self.download = download
        if not download:
            self._require_weights()

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        device: str = "cpu",
        threshold: Annotated[float, Range(0, 1)] = 0.5,
        download: bool = False,
    ) -> Self:
        """Build from ``fan[?device=cpu&threshold=0.5&download=false]``.

        Raises:
            MissingExtraError: face-alignment is not installed.
            InvalidSpecError: There is an argument, or weights are neither here nor may be fetched.
        """
        if argument is not None:
            raise InvalidSpecError(f"landmarker 'fan' takes no argument, unlike 'fan:{argument}'; options follow '?'")
        return cls(device=device, threshold=threshold, download=download)

    def find_faces(self, image: Image.Image) -> list[DetectedFace]:
        """Return the faces of an RGB image, in the detector's order."""
        scale = min(1.0, DETECTION_SIDE / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        copy = image if scale == 1.0 else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
        found = self._network.face_detector.detect_from_image(np.array(copy))
        if len(found) == 0:
            return []
        ratio = np.array([image.width / copy.width, image.height / copy.height] * 2 + [1.0])
        boxes = np.stack([np.asarray(box, dtype=np.float64)[:5] for box in found]) * ratio
        landmarks = self._network.get_landmarks_from_image(np.array(image), detected_faces=list(boxes))
        return [
            DetectedFace(tuple(box[:4].tolist()), float(box[4]), points)
            for box, points in zip(boxes, landmarks, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_network"}

    @functools.cached_property
    def _network(self) -> Any:
        import face_alignment

        arguments: dict[str, Any] = {
            "device": self.device,
            "face_detector": "sfd",
            "face_detector_kwargs": {"filter_threshold": self.threshold},
            **uncompiled(),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, **arguments)

    @staticmethod
    def _require_weights() -> None:
        import torch

        folder = Path(torch.hub.get_dir()) / "checkpoints"
        missing = [url for url in weight_urls() if not (folder / PurePosixPath(urlparse(url).path).name).is_file()]
        if missing:
            raise InvalidSpecError(
                f"landmarker 'fan' finds no weights in '{folder}'; put there {' and '.join(missing)}, "
                "or let it fetch them: fan?download=true"
            )
