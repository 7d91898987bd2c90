"""Index arithmetic of visual tokens: their positions in a batch of images and clips of different length.

It knows neither encoders nor language models, only counts and indices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from facekit.errors import ConfigurationError


def read_frame_counts(num_frames: Tensor | None, media: int, longest: int | None = None) -> list[int] | None:
    """Return how many frames of each image or clip are real, or None where nothing says so.

    Args:
        num_frames: ``(B_media,)`` integers.
        media: The number of images and clips.
        longest: Frames of the tensor that holds them, the largest number that can be real.

    Raises:
        ConfigurationError: There are not as many numbers, or one is below 1 or above ``longest``.
    """
    if num_frames is None:
        return None
    if num_frames.ndim != 1 or len(num_frames) != media or num_frames.is_floating_point():
        raise ConfigurationError(
            f"num_frames has shape {tuple(num_frames.shape)} and type {num_frames.dtype}; it is one integer for each "
            f"of {media} images or clips"
        )
    counts = [int(count) for count in num_frames.tolist()]
    wrong = next((count for count in counts if count < 1 or (longest is not None and count > longest)), None)
    if wrong is not None:
        bound = "" if longest is None else f" to {longest}, the frames of pixel_values"
        raise ConfigurationError(f"num_frames has {wrong}; an image or clip has from 1{bound}")
    return counts


def map_by_length(lengths: Sequence[int], function: Callable[[int, list[int]], Iterable[Tensor]]) -> list[Tensor]:
    """Compute something of images and clips, those of the same length together, the shortest first.

    Frames of a clip attend to each other, so a batch for an encoder holds clips of one length.

    Args:
        lengths: Frames of each image or clip.
        function: Given a length and the indices of those that have it, returns a result for each of them, in order.

    Returns:
        The result for each, in the order of ``lengths``.
    """
    results: dict[int, Tensor] = {}
    for length in sorted(set(lengths)):
        rows = [row for row, each in enumerate(lengths) if each == length]
        results |= zip(rows, function(length, rows), strict=True)
    return [results[row] for row in range(len(lengths))]


def count_media_tokens(
    cost: Callable[[int], int], pixel_values: Tensor | None, image_features: Tensor | None, num_frames: Tensor | None
) -> list[int]:
    """Visual tokens of each image or clip; an empty list where none is given.

    Args:
        cost: Visual tokens of an image (1 frame) or a clip of that many frames.
        pixel_values: ``(B_media, T, 3, H, W)``.
        image_features: ``(B_media, n, D)``, which goes before ``pixel_values``.
        num_frames: ``(B_media,)``, how many frames of each are real.

    Raises:
        ConfigurationError: ``image_features`` hold fewer tokens than ``num_frames`` says, or these do not fit.
    """
    if image_features is not None:
        media, width = image_features.shape[:2]
        lengths = read_frame_counts(num_frames, media)
        counts = [width] * media if lengths is None else [cost(each) for each in lengths]
        if max(counts, default=0) > width:
            raise ConfigurationError(f"image_features hold {width} tokens each, fewer than num_frames says")
        return counts
    if pixel_values is None:
        return []
    media, longest = pixel_values.shape[:2]
    return [cost(frames) for frames in read_frame_counts(num_frames, media, longest) or [longest] * media]


def merge_visual_tokens(
    is_visual: Tensor, inputs_embeds: Tensor, features: Tensor, counts: Sequence[int] | None = None
) -> Tensor:
    """Put visual tokens, in order, where ``is_visual`` is true.

    Args:
        is_visual: Bool ``(B, L)``, true at as many tokens as ``features`` has real tokens.
        inputs_embeds: ``(B, L, D)``.
        features: ``(B_media, n, D)``; the tokens of a shorter one come first, then padding.
        counts: Real tokens of each; None where all n are.

    Returns:
        ``(B, L, D)``.
    """
    media, width = features.shape[:2]
    flat = features.flatten(0, 1).to(inputs_embeds.device, inputs_embeds.dtype)
    # A gather: unlike masked_scatter, its backward does not wait for the device to count the mask.
    source = is_visual.flatten().cumsum(0) - 1
    if counts is not None and any(count != width for count in counts):
        lengths = torch.tensor(counts, device=source.device)
        ends = lengths.cumsum(0)
        owner = torch.searchsorted(ends, source, right=True).clamp(max=media - 1)
        source = source + owner * width - (ends - lengths)[owner]
    source = source.clamp(0, len(flat) - 1).view_as(is_visual)
    return torch.where(is_visual.unsqueeze(-1), F.embedding(source, flat), inputs_embeds)


def rows_of_media(is_visual: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the row of the batch that each image or clip belongs to, ``(B_media,)``.

    Args:
        is_visual: Bool ``(B, L)``.
        counts: Visual tokens of each image or clip, in the order of their tokens.

    Raises:
        ConfigurationError: The counts do not add up to the visual tokens in ``is_visual``.
    """
    rows = torch.where(is_visual)[0]
    if sum(counts) != len(rows):
        raise ConfigurationError(f"{len(rows)} image tokens cannot be shared by {len(counts)} images or clips")
    lengths = torch.tensor(counts, dtype=torch.long, device=rows.device)
    return rows[lengths.cumsum(0) - lengths]
