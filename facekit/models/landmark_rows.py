"""Landmarks as further rows of ``pixel_values``, for trainers that pass on only the tensors that they know by name.

TRL's GRPO, among others, generates with all that a processor returns, but computes log-probabilities from ``input_ids``
and ``pixel_values`` alone: a model that attends to landmarks would learn without them, and nothing would say so. In
rows below the pixels they reach both, with the number of real frames of a clip, and not a bit of them changes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from facekit.errors import ConfigurationError
from facekit.faces.regions import NUM_LANDMARKS

_NUMBERS = 2 * NUM_LANDMARKS + 1
"""Of a frame: x and y of each landmark, and 1 where the frame is real, 0 where it is padding."""


class SplitPixels(NamedTuple):
    """What ``add_landmark_rows`` put together.

    Attributes:
        pixel_values: ``(B_media, T, 3, H, W)``.
        landmarks: ``(B_media, T, 68, 2)``, or None where the pixels had no further rows.
        num_frames: ``(B_media,)`` where lengths differ, else None.
    """

    pixel_values: Tensor
    landmarks: Tensor | None = None
    num_frames: Tensor | None = None


def add_landmark_rows(pixel_values: Tensor, landmarks: Tensor, num_frames: Tensor | None = None) -> Tensor:
    """Write landmarks below the pixels that they belong to.

    Args:
        pixel_values: ``(B_media, T, 3, H, W)`` of square pictures.
        landmarks: ``(B_media, T, 68, 2)``; NaN rows are absent.
        num_frames: ``(B_media,)``, how many frames of each are real; by default all T.

    Returns:
        ``(B_media, T, 3, H + R, W)`` with as many rows as they need, one where W is at least 46.
    """
    media, frames, channels, _, width = pixel_values.shape
    real = torch.ones(media, frames, 1, dtype=pixel_values.dtype)
    if num_frames is not None:
        real = (torch.arange(frames) < num_frames[:, None]).to(pixel_values.dtype)[..., None]
    numbers = torch.cat([landmarks.to(pixel_values.dtype).flatten(2), real.to(landmarks.device)], dim=2)
    rows = count_landmark_rows(width, channels)
    padded = F.pad(numbers, (0, rows * channels * width - _NUMBERS))
    return torch.cat([pixel_values, padded.view(media, frames, channels, rows, width)], dim=3)


def split_landmark_rows(pixel_values: Tensor) -> SplitPixels:
    """Undo ``add_landmark_rows``; pixels that are square, and so have no further rows, come back as they are.

    Raises:
        ConfigurationError: The pixels are higher than wide, but not by the rows of landmarks.
    """
    height, width = pixel_values.shape[-2:]
    if pixel_values.ndim != 5 or height <= width:
        return SplitPixels(pixel_values)
    rows = count_landmark_rows(width, pixel_values.shape[2])
    if height != width + rows:
        raise ConfigurationError(
            f"pixel_values are {height} by {width}; a picture is square, or has {rows} rows of landmarks below it"
        )
    numbers = pixel_values[:, :, :, width:].flatten(2)[..., :_NUMBERS]
    landmarks = numbers[..., :-1].unflatten(2, (NUM_LANDMARKS, 2))
    counts = numbers[..., -1].sum(dim=1).round().long()
    lengths = None if bool((counts == pixel_values.shape[1]).all()) else counts
    return SplitPixels(pixel_values[:, :, :, :width], landmarks, lengths)


def read_media(pixel_values: Tensor, landmarks: Tensor | None, num_frames: Tensor | None) -> dict[str, Tensor | None]:
    """Return a model's arguments with what the pixels carry; what is given beside them goes first.

    Args:
        pixel_values: ``(B_media, T, 3, H, W)``, or with rows of landmarks below.
        landmarks: ``(B_media, T, 68, 2)``, or None.
        num_frames: ``(B_media,)``, or None.

    Raises:
        ConfigurationError: See ``split_landmark_rows``.
    """
    pixels, carried, frames = split_landmark_rows(pixel_values)
    return {
        "pixel_values": pixels,
        "landmarks": carried if landmarks is None else landmarks,
        "num_frames": frames if num_frames is None else num_frames,
    }


def count_landmark_rows(width: int, channels: int = 3) -> int:
    """How many rows below pixels of a width hold a frame's landmarks."""
    return -(-_NUMBERS // (channels * width))
