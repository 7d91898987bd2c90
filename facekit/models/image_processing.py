"""Pictures to ``pixel_values`` and ``landmarks``: open, find the face, crop, resize, normalise.

It is apart from the text side because training reads pictures ahead of time and alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import load_image
from transformers.processing_utils import ImagesKwargs

from facekit.catalog import current_registry
from facekit.encoders.transform import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, ImageTransform
from facekit.errors import ConfigurationError
from facekit.faces import NUM_LANDMARKS, CroppedFace, Landmarker, open_image, prepare_face
from facekit.faces.crop import DEFAULT_MARGIN
from facekit.faces.images import ImageSource
from facekit.faces.prepare import ON_NO_FACE
from facekit.registry import PartSpec

LARGEST_COORDINATE = 2.0
"""Landmarks may leave the picture a little; beyond this they are not normalised."""


class FaceKitImageProcessor(BaseImageProcessor):
    """Prepares pictures as the model's encoder was trained to see them.

    Args:
        image_size: Height and width in pixels.
        image_mean: Subtracted per channel, on the scale [0, 1].
        image_std: Divided by, per channel.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
        landmarker: Spec of the landmarker; it is loaded when it is first needed.
        crop_margin: Added on each side of the face, as a fraction of it.
        on_no_face: ``raise``, or ``whole-image``: the picture is used whole, padded to a square, without landmarks.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    model_input_names = ["pixel_values", "landmarks"]  # noqa: RUF012 - the base class has it as a plain class attribute
    valid_kwargs = ImagesKwargs

    def __init__(
        self,
        image_size: int = 224,
        image_mean: Sequence[float] = OPENAI_CLIP_MEAN,
        image_std: Sequence[float] = OPENAI_CLIP_STD,
        interpolation: str = "bicubic",
        landmarker: str = "dlib",
        crop_margin: float = DEFAULT_MARGIN,
        on_no_face: str = "raise",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_no_face not in ON_NO_FACE:
            raise ConfigurationError(f"on_no_face is one of {', '.join(ON_NO_FACE)}, not '{on_no_face}'")
        self.image_size = image_size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.interpolation = interpolation
        self.landmarker = landmarker
        self.crop_margin = crop_margin
        self.on_no_face = on_no_face
        self._loaded_landmarker: tuple[str, Landmarker] | None = None
        _ = self.transform

    @classmethod
    def from_transform(cls, transform: ImageTransform, **options: Any) -> FaceKitImageProcessor:
        """Build the processor of an encoder's transform; ``options`` are the constructor's others."""
        return cls(transform.image_size, transform.mean, transform.std, transform.interpolation, **options)

    @property
    def transform(self) -> ImageTransform:
        """The transform that the values describe."""
        mean, std = tuple(self.image_mean), tuple(self.image_std)
        return ImageTransform(self.image_size, mean, std, self.interpolation)  # type: ignore[arg-type]

    def __call__(
        self,
        images: ImageSource | Sequence[Any],
        *,
        landmarks: ArrayLike | Sequence[ArrayLike | None] | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare pictures, or clips of as many frames each.

        Args:
            images: A picture (PIL, path, URL or array), a list of them, or nested lists as chats have them.
            landmarks: Without it, the face is found, cropped, and its landmarks are carried along. With it, the
                pictures are taken as cropped already: per picture ``(68, 2)`` in [0, 1], or None.
            return_tensors: Ignored: the result is always tensors.
            **kwargs: Ignored, for callers that pass options of other image processors.

        Returns:
            ``pixel_values`` ``(B, 1, 3, H, W)`` and ``landmarks`` ``(B, 1, 68, 2)``, absent ones NaN.

        Raises:
            ImageError: A picture cannot be opened.
            FaceNotFoundError: A picture shows no face and ``on_no_face`` is ``raise``.
            ConfigurationError: There is no picture, or the landmarks are not as many, have another shape, or belong
                to a picture that is not square.
        """
        pictures = flatten_images(images)
        if not pictures:
            raise ConfigurationError("there is no picture to prepare")
        if landmarks is None:
            faces = [self.prepare(picture) for picture in pictures]
        else:
            given = split_landmarks(landmarks, len(pictures))
            faces = [take_as_cropped(picture, points) for picture, points in zip(pictures, given, strict=True)]
        return self.convert(faces)

    def convert(self, faces: Sequence[CroppedFace]) -> BatchFeature:
        """Return the tensors of faces that are cropped already; see ``__call__``."""
        pixels = torch.stack([self.transform(face.image) for face in faces])
        landmarks = torch.stack([torch.from_numpy(face.landmarks_or_absent) for face in faces])
        return BatchFeature({"pixel_values": pixels.unsqueeze(1), "landmarks": landmarks.unsqueeze(1)})

    def prepare(self, picture: ImageSource) -> CroppedFace:
        """Find the largest face of a picture and return its square crop with the landmarks.

        Args:
            picture: A PIL image, a path, a URL or an array.

        Raises:
            ImageError: The picture cannot be opened.
            FaceNotFoundError: It shows no face and ``on_no_face`` is ``raise``.
            MissingExtraError: The landmarker's package is not installed.
        """
        return prepare_face(
            fetch_picture(picture),
            self._load_landmarker(),
            margin=self.crop_margin,
            on_no_face=self.on_no_face,
        )

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Return what was given: pictures are opened when they are prepared, with facekit's bounds and errors."""
        return image_url_or_urls

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values from which ``from_dict`` rebuilds the processor."""
        return {name: value for name, value in super().to_dict().items() if not name.startswith("_")}

    def _load_landmarker(self) -> Landmarker:
        if self._loaded_landmarker is None or self._loaded_landmarker[0] != self.landmarker:
            spec = PartSpec.parse(self.landmarker)
            part = current_registry().load("landmarker", spec.name)
            self._loaded_landmarker = (self.landmarker, part.from_spec(spec.argument, **spec.options))
        return self._loaded_landmarker[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded_landmarker": None}


def fetch_picture(source: ImageSource) -> ImageSource:
    """Download a picture that is given by an http(s) URL; anything else is returned as it is."""
    return load_image(source) if isinstance(source, str) and source.startswith(("http://", "https://")) else source


def take_as_cropped(source: ImageSource, landmarks: np.ndarray | None) -> CroppedFace:
    """Return a picture that is cropped to the face already, with its landmarks.

    Args:
        source: A PIL image, a path, a URL or an array.
        landmarks: ``(68, 2)`` in [0, 1] of the picture, or None.

    Raises:
        ImageError: The picture cannot be opened.
        ConfigurationError: It has landmarks and is not square, so that they would not fit the encoder's square; or
            they have another shape or other units.
    """
    picture = open_image(fetch_picture(source))
    width, height = picture.size
    if landmarks is not None:
        check_landmarks(landmarks)
    if landmarks is not None and width != height:
        raise ConfigurationError(f"landmarks belong to a square crop, but the picture is {width} x {height} pixels")
    return CroppedFace(picture, landmarks, (0, 0, width, height), None)


def check_landmarks(landmarks: np.ndarray) -> None:
    """Make sure that landmarks have the shape ``(68, 2)`` and are normalised; NaN stands for absent ones.

    Raises:
        ConfigurationError: They have another shape, or lie so far outside [0, 1] that they must be in pixels.
    """
    if landmarks.shape != (NUM_LANDMARKS, 2):
        raise ConfigurationError(f"landmarks have shape {landmarks.shape}, not ({NUM_LANDMARKS}, 2)")
    largest = float(np.nanmax(np.abs(landmarks))) if np.isfinite(landmarks).any() else 0.0
    if largest > LARGEST_COORDINATE:
        raise ConfigurationError(
            f"landmarks must be in [0, 1] of the picture, but {largest:g} occurs; divide by its width and height"
        )


def flatten_images(images: Any) -> list[ImageSource]:
    """Return the pictures in nested lists as one list, in order.

    Raises:
        ConfigurationError: Something in it is no picture.
    """
    if isinstance(images, (Image.Image, str, Path, np.ndarray)):
        return [images]
    if isinstance(images, (list, tuple)):
        return [picture for entry in images for picture in flatten_images(entry)]
    raise ConfigurationError(f"an image is a PIL image, a path or an array, not {type(images).__name__}")


def split_landmarks(landmarks: Any, count: int) -> list[np.ndarray | None]:
    """Return landmarks per picture.

    Args:
        landmarks: ``(count, 68, 2)``, ``(count, 1, 68, 2)``, a list of ``(68, 2)`` or None, or ``(68, 2)`` for one.
        count: The number of pictures.

    Raises:
        ConfigurationError: The count or a shape is another one.
    """
    if not isinstance(landmarks, (list, tuple)):
        array = np.asarray(landmarks, dtype=np.float32)
        landmarks = list(array[None] if array.ndim == 2 else array.squeeze(1) if array.ndim == 4 else array)
    if len(landmarks) != count:
        raise ConfigurationError(f"there are {count} images but landmarks for {len(landmarks)}")
    arrays = [None if points is None else np.asarray(points, dtype=np.float32) for points in landmarks]
    for index, points in enumerate(arrays):
        if points is not None and points.shape != (NUM_LANDMARKS, 2):
            raise ConfigurationError(f"landmarks {index} have shape {points.shape}, not ({NUM_LANDMARKS}, 2)")
    return arrays
