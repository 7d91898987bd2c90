"""Media arguments: pictures and clips as users give them, with the landmarks that belong to them.

Arguments are read here, and face crops taken as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from facekit.counted import counted
from facekit.errors import ConfigurationError
from facekit.faces import NUM_LANDMARKS, CroppedClip, CroppedFace, is_video, open_image, read_clip
from facekit.faces.images import ImageSource
from facekit.faces.video import Clip, ClipSource

AnyClip: TypeAlias = ClipSource | CroppedClip

LARGEST_COORDINATE = 2.0
"""Landmarks may leave the picture a little; beyond this they are not normalised."""


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
    picture = open_image(source)
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
    if isinstance(images, (Image.Image, str, Path, bytes, np.ndarray)):
        return [images]
    if isinstance(images, (list, tuple)):
        return [picture for entry in images for picture in flatten_images(entry)]
    raise ConfigurationError(
        f"an image is a PIL image, a path, an address, bytes or an array, not {type(images).__name__}"
    )


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
        raise ConfigurationError(
            f"{counted(count, 'image')} but landmarks for {len(landmarks)}; give one entry for each"
        )
    arrays = [None if points is None else np.asarray(points, dtype=np.float32) for points in landmarks]
    for index, points in enumerate(arrays):
        if points is not None and points.shape != (NUM_LANDMARKS, 2):
            raise ConfigurationError(f"landmarks {index} have shape {points.shape}, not ({NUM_LANDMARKS}, 2)")
    return arrays


def flatten_clips(videos: Any) -> list[AnyClip]:
    """Return the clips in nested lists as one list, in order.

    A list of pictures is one clip; a list of anything else is a list of clips.

    Raises:
        ConfigurationError: Something in it is no clip.
    """
    if isinstance(videos, (str, Path, bytes, Clip, CroppedClip)) or (
        isinstance(videos, np.ndarray) and videos.ndim == 4
    ):
        return [videos]
    if isinstance(videos, (list, tuple)):
        if videos and all(_is_picture(entry) for entry in videos):
            return [list(videos)]
        return [clip for entry in videos for clip in flatten_clips(entry)]
    shape = f" of shape {videos.shape}" if isinstance(videos, np.ndarray) else ""
    raise ConfigurationError(
        "a video is the path of a video file, an array (frames, height, width, 3), or a list of pictures, not "
        f"{type(videos).__name__}{shape}"
    )


def split_clip_landmarks(landmarks: Any, count: int) -> list[np.ndarray | None]:
    """Return landmarks per clip.

    Args:
        landmarks: A list of ``(frames, 68, 2)`` or None, or one such array for one clip, or a stack of them.
        count: The number of clips.

    Raises:
        ConfigurationError: The count or a shape is another one.
    """
    if not isinstance(landmarks, (list, tuple)):
        array = np.asarray(landmarks, dtype=np.float32)
        landmarks = [array] if array.ndim == 3 else list(array)
    if len(landmarks) != count:
        raise ConfigurationError(
            f"{counted(count, 'video')} but landmarks for {len(landmarks)}; give one entry for each"
        )
    arrays = [None if points is None else np.asarray(points, dtype=np.float32) for points in landmarks]
    for index, points in enumerate(arrays):
        if points is not None and (points.ndim != 3 or points.shape[1:] != (NUM_LANDMARKS, 2)):
            raise ConfigurationError(
                f"the landmarks of video {index} have shape {points.shape}, not (frames, {NUM_LANDMARKS}, 2)"
            )
    return arrays


def take_clip_as_cropped(clip: AnyClip, landmarks: np.ndarray | None, num_frames: int) -> CroppedClip:
    """Return a clip whose frames are cropped to the face already, with its landmarks.

    Args:
        clip: A path, a URL, an array or a list of pictures; crops are returned as they are.
        landmarks: ``(frames, 68, 2)`` in [0, 1] of the frames, for all frames of the clip or for those that are chosen;
            NaN rows for frames without a face. None for none, and then frames need not be square.
        num_frames: Frames to choose.

    Raises:
        VideoError: The clip cannot be read.
        ImageError: A picture of a list cannot be opened.
        ConfigurationError: The landmarks are of another number of frames, belong to frames that are not square, or
            are not normalised.
    """
    if isinstance(clip, CroppedClip):
        return clip
    opened = read_clip(clip, num_frames)
    present: list[np.ndarray | None] = [None] * len(opened.frames)
    if landmarks is not None:
        shapes = choose_clip_landmarks(landmarks, opened)
        present = [shape if np.isfinite(shape).all() else None for shape in shapes]
    crops = (take_as_cropped(frame, shape) for frame, shape in zip(opened.frames, present, strict=True))
    return CroppedClip(tuple(crops), opened.indices)


def choose_clip_landmarks(landmarks: np.ndarray, clip: Clip) -> np.ndarray:
    """Return the landmarks of the frames that were chosen of a clip.

    Args:
        landmarks: ``(frames, 68, 2)``, for all frames of the clip or for the chosen ones.
        clip: The clip.

    Raises:
        ConfigurationError: They are of another number of frames.
    """
    if len(landmarks) == len(clip.frames):
        return landmarks
    if len(landmarks) == clip.total:
        return landmarks[list(clip.indices)]
    raise ConfigurationError(
        f"{clip.name} has {clip.total} frames, of which {len(clip.frames)} are chosen, but landmarks for "
        f"{len(landmarks)}"
    )


def _is_picture(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim in (2, 3)
    return isinstance(value, Image.Image) or (isinstance(value, (str, Path, bytes)) and not is_video(value))
