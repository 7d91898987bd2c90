"""The media of a record: pictures and clips opened as squares and as tensors, and how many frames they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facekit.counted import counted
from facekit.data.records import FaceRecord
from facekit.errors import ConfigurationError, RecordError
from facekit.faces import NUM_LANDMARKS, CroppedFace, open_image, pad_to_square, read_clip
from facekit.faces.frames import FRAMES_PER_CLIP
from facekit.models.media import choose_clip_landmarks
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions.encoding import MediumTensors
from facekit.remote.addresses import place_of


def media_frames(record: FaceRecord, total: int) -> tuple[int, ...]:
    """Frames of each of a record's pictures or of its clip; empty for text alone.

    Args:
        record: The record.
        total: Frames that were opened of it.
    """
    return (1,) * total if record.images is not None else (total,) if total else ()


def count_frames(record: FaceRecord, num_frames: int) -> int:
    """How many frames a record's example has: one per picture, at most ``num_frames`` of a video file, 0 of text alone.

    Of a video file that is shorter than that, all; which is not known before it is opened.
    """
    if isinstance(record.video, str):
        return min(num_frames, len(record.frames)) if record.frames else num_frames
    return len(record.media_paths(""))


def load_media(record: FaceRecord, folder: Path, processor: FaceKitProcessor) -> tuple[Tensor, Tensor]:
    """Open a record's pictures or frames; nothing is detected, because records hold face crops.

    Args:
        record: The record.
        folder: Folder of its records file.
        processor: Has the encoder's image transform.

    Returns:
        Pixels ``(T, 3, H, W)`` and landmarks ``(T, 68, 2)`` in [0, 1] of them; NaN rows where the record has none.
        T counts the frames of a clip, or several pictures; it is 0 for text alone. A picture that is not square is
        padded to one, and its landmarks move along.

    Raises:
        ImageError: A file cannot be opened as a picture or, as ``VideoError``, as a clip.
        RecordError: The record has landmarks for another number of frames.
    """
    frames = open_frames(record, folder, processor.image_processor.num_frames)
    if not frames:
        side = processor.image_processor.image_size
        return torch.zeros(0, 3, side, side), torch.zeros(0, NUM_LANDMARKS, 2)
    pixels = torch.stack([processor.image_processor.transform(frame.image) for frame in frames])
    return pixels, torch.from_numpy(np.stack([frame.landmarks_or_absent for frame in frames]))


def open_media(record: FaceRecord, folder: Path, processor: FaceKitProcessor) -> list[MediumTensors]:
    """Open each of a record's pictures, or its clip, as ``Session.open_many`` takes it; errors as in ``load_media``."""
    pixels, points = load_media(record, folder, processor)
    frames = media_frames(record, len(pixels))
    return [
        MediumTensors(*each, is_clip=record.video is not None)
        for each in zip(pixels.split(frames), points.split(frames), strict=True)
    ] if frames else []  # fmt: skip


def open_frames(record: FaceRecord, folder: Path, num_frames: int = FRAMES_PER_CLIP) -> list[CroppedFace]:
    """Open a record's pictures, or the frames of its clip, as squares with their landmarks.

    Args:
        record: The record.
        folder: Folder of its records file.
        num_frames: Frames to choose of a video file. Frames that are files of their own have been chosen already.

    Returns:
        One square per frame; landmarks None where the record has none.

    Raises:
        ImageError: A file cannot be opened as a picture or, as ``VideoError``, as a clip.
        RecordError: The record has landmarks for another number of frames.
    """
    pictures, points = _read_media(record, folder, num_frames)
    if points is None:
        return [pad_to_square(picture) for picture in pictures]
    frames = []
    for picture, shape in zip(pictures, points, strict=True):
        square = pad_to_square(picture)
        present = np.isfinite(shape).all()
        moved = square.from_picture(shape * picture.size).astype(np.float32) if present else None
        frames.append(replace(square, landmarks=moved))
    return frames


def _read_media(record: FaceRecord, folder: Path, num_frames: int) -> tuple[Sequence[Image.Image], np.ndarray | None]:
    points = record.landmark_array(folder)
    points = points[None] if points is not None and points.ndim == 2 else points
    if not isinstance(record.video, str):
        pictures = [open_image(path) for path in record.media_paths(folder)]
        if points is not None and len(points) != len(pictures):
            shown = counted(len(pictures), "picture" if record.images is not None else "frame")
            raise RecordError(f"record {record.id!r} has {shown} but landmarks for {len(points)}")
        return pictures, points
    clip = read_clip(place_of(folder, record.video), num_frames, among=record.frames)
    if points is None:
        return clip.frames, None
    try:
        if record.frames is not None and len(points) == len(record.frames) != clip.total:
            return clip.frames, points[[record.frames.index(index) for index in clip.indices]]
        return clip.frames, choose_clip_landmarks(points, clip)
    except ConfigurationError as error:
        raise RecordError(f"record {record.id!r}: {error}") from error
