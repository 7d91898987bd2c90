"""Media of an engine's requests to tensors, with the options of the request; knows no engine.

``landmarks`` and ``video_landmarks`` have an entry for each picture or clip: null, and then the checkpoint's landmarker
looks for the face; or landmarks, and then the picture is taken as cropped to the face already.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from facekit.errors import ConfigurationError
from facekit.faces import NUM_LANDMARKS, CroppedClip
from facekit.faces.prepare import ON_NO_FACE
from facekit.models.image_processing import FaceKitImageProcessor, Medium
from facekit.models.media import check_landmarks, take_as_cropped, take_clip_as_cropped
from facekit.models.sessions import MediumTensors
from facekit.models.sessions.session import medium_tensors

logger = logging.getLogger(__name__)

Modality: TypeAlias = Literal["image", "video"]
LANDMARKS: Mapping[str, str] = {"image": "landmarks", "video": "video_landmarks"}
"""The option with the landmarks of each picture, and of each clip."""

_OPTIONS = {*LANDMARKS.values(), "num_frames", "on_no_face"}
_ARTICLES = {"image": "picture", "video": "clip"}


def prepare_media(
    processor: FaceKitImageProcessor, modality: Modality, media: Sequence[Any], options: Mapping[str, Any]
) -> dict[str, list[Tensor]]:
    """Find faces and return tensors.

    Args:
        processor: The checkpoint's image processor.
        modality: Whether ``media`` are pictures or clips.
        media: Pictures of PIL, arrays ``(frames, H, W, 3)``, or ``MediumTensors``, which are prepared already.
        options: Of the request: ``landmarks`` or ``video_landmarks``, ``num_frames`` of a clip, ``on_no_face``.

    Returns:
        ``pixel_values``, ``(T, 3, H, W)`` of each, and ``landmarks``, ``(T, 68, 2)`` of each.

    Raises:
        ConfigurationError: There is no such option, or its value cannot be used.
        FaceNotFoundError: A picture or clip shows no face, and the checkpoint, or ``on_no_face``, wants one.
    """
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise ConfigurationError(
            f"there is no option '{unknown[0]}' of pictures; there are {', '.join(sorted(_OPTIONS))}"
        )
    processor = _with_rule(processor, options.get("on_no_face"))
    entries = options.get(LANDMARKS[modality]) or [None] * len(media)
    if len(entries) != len(media):
        raise ConfigurationError(f"there are {len(media)} {_ARTICLES[modality]}s and landmarks for {len(entries)}")
    prepared = [
        _prepare(processor, modality, medium, read_landmarks(modality, entry), options.get("num_frames"))
        for medium, entry in zip(media, entries, strict=True)
    ]
    faceless = [number for number, each in enumerate(prepared, 1) if not torch.isfinite(each.landmarks).any()]
    if faceless and processor.landmarker is not None and not all(entry is not None for entry in entries):
        logger.warning(
            "no face was found in %s %s of a request; it is seen whole, without landmarks",
            _ARTICLES[modality],
            faceless,
        )
    return {
        "pixel_values": [each.pixel_values for each in prepared],
        "landmarks": [each.landmarks for each in prepared],
    }


def read_landmarks(modality: Modality, entry: Any) -> np.ndarray | None:
    """Return the landmarks of a picture ``(68, 2)`` or a clip ``(frames, 68, 2)``; None where there are none.

    Raises:
        ConfigurationError: They are no numbers, have another shape, or are not in [0, 1] of the picture.
    """
    if entry is None:
        return None
    name = LANDMARKS[modality]
    try:
        points = np.asarray(entry, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"an entry of {name} is null or {NUM_LANDMARKS} points (x, y)") from error
    frames = points[None] if modality == "image" else points
    if frames.ndim != 3 or not len(frames):
        raise ConfigurationError(
            f"an entry of {name} has shape {points.shape}; {NUM_LANDMARKS} points (x, y) are meant"
        )
    for each in frames:
        check_landmarks(each)
    return points


def blank_landmarks(modality: Modality, frames: int) -> np.ndarray:
    """Landmarks of a blank picture or clip, in which nothing shall be looked for."""
    shape = (NUM_LANDMARKS, 2) if modality == "image" else (frames, NUM_LANDMARKS, 2)
    return np.full(shape, np.nan, dtype=np.float32)


def _with_rule(processor: FaceKitImageProcessor, rule: str | None) -> FaceKitImageProcessor:
    if rule is None:
        return processor
    if rule not in ON_NO_FACE:
        raise ConfigurationError(f"on_no_face is one of {', '.join(ON_NO_FACE)}, not {rule!r}")
    twin = copy.copy(processor)
    twin.on_no_face = rule
    return twin


def _prepare(
    processor: FaceKitImageProcessor,
    modality: Modality,
    medium: Any,
    landmarks: np.ndarray | None,
    num_frames: int | None,
) -> MediumTensors:
    if isinstance(medium, MediumTensors):
        return medium
    cropped: Medium
    if modality == "image":
        cropped = processor.prepare(medium) if landmarks is None else take_as_cropped(medium, landmarks)
    elif landmarks is None:
        cropped = processor.prepare_clip(_read_array(medium), num_frames)
    else:
        count = processor.num_frames if num_frames is None else num_frames
        cropped = take_clip_as_cropped(_read_array(medium), landmarks, count)
    return medium_tensors(processor, cropped)


def _read_array(clip: Any) -> Any:
    """A clip that the engine decoded; some hand out tensors."""
    return clip if isinstance(clip, CroppedClip) else np.asarray(clip)
