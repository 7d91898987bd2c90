"""Resampling position embeddings to another number of patches or frames.

timm and transformers resample their own models' embeddings; this is for the other encoders.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from facekit.errors import CheckpointError


def resample_patch_positions(positions: Tensor, grid: tuple[int, int], num_prefix_tokens: int = 1) -> Tensor:
    """Resample learned position embeddings of a square grid, bicubic and antialiased as open_clip does.

    Args:
        positions: ``(P + N, C)``, prefix tokens first, then N patches row by row.
        grid: Rows and columns wanted.
        num_prefix_tokens: P; their embeddings stay as they are.

    Returns:
        ``(P + rows * columns, C)``, in the dtype of ``positions``; the same tensor where the grid is the trained one.

    Raises:
        CheckpointError: N is not the count of a square grid.
    """
    count = len(positions) - num_prefix_tokens
    side = math.isqrt(max(count, 0))
    if side * side != count or count < 1:
        raise CheckpointError(
            f"{len(positions)} position embeddings are not {num_prefix_tokens} and a square grid, so they cannot be "
            f"resampled to {grid[0]} x {grid[1]} patches"
        )
    if grid == (side, side):
        return positions
    prefix, patches = positions[:num_prefix_tokens], positions[num_prefix_tokens:]
    planes = rearrange(patches.float(), "(rows cols) c -> 1 c rows cols", rows=side)
    planes = F.interpolate(planes, size=grid, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([prefix, rearrange(planes, "1 c rows cols -> (rows cols) c").to(positions.dtype)])


def resample_frame_positions(positions: Tensor, frames: int) -> Tensor:
    """Resample learned embeddings of frames in time, linearly; the first and last frame keep theirs.

    Frames are taken evenly from the first to the last of a clip, so the ends of a clip of any length correspond.

    Args:
        positions: ``(1, T, C)``.
        frames: How many are wanted, at least 2 or T itself.

    Returns:
        ``(1, frames, C)``, in the dtype of ``positions``.
    """
    if frames == positions.shape[1]:
        return positions
    curve = rearrange(positions.float(), "1 t c -> 1 c t")
    curve = F.interpolate(curve, size=frames, mode="linear", align_corners=True)
    return rearrange(curve, "1 c t -> 1 t c").to(positions.dtype)
