"""The nine face regions of Face-LLaVA, their centroids, and the proximity of image patches to them.

Plain functions on tensors, which connectors and kernels call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facekit.errors import ConfigurationError
from facekit.faces.layout import FACE_REGIONS, NUM_LANDMARKS

__all__ = ["FACE_REGIONS", "NUM_LANDMARKS", "patch_centers", "region_centroids", "region_patch_proximity"]


def region_centroids(landmarks: Tensor) -> Tensor:
    """Return the mean point of each region.

    Args:
        landmarks: ``(..., 68, 2)``, iBUG-68, x then y, of any floating type.

    Returns:
        ``(..., 9, 2)`` of the same type, regions in the order of ``FACE_REGIONS``. A region with a NaN landmark has a
        NaN centroid, so an absent face (all NaN) gives nine of them and leaves the other faces of the batch alone.

    Raises:
        ConfigurationError: The last two dimensions are not 68 and 2, or the type is not a floating one.

    Examples:
        >>> import torch
        >>> from facekit.faces import region_centroids
        >>> region_centroids(torch.rand(4, 68, 2)).shape  # four faces, nine regions
        torch.Size([4, 9, 2])
    """
    if landmarks.ndim < 2 or tuple(landmarks.shape[-2:]) != (NUM_LANDMARKS, 2):
        raise ConfigurationError(f"landmarks must have shape (..., {NUM_LANDMARKS}, 2), not {tuple(landmarks.shape)}")
    if not landmarks.is_floating_point():
        raise ConfigurationError(f"landmarks must be of a floating type, not {landmarks.dtype}; convert with .float()")
    means = [_widen(landmarks[..., points.start : points.stop, :]).mean(dim=-2) for points in FACE_REGIONS.values()]
    return torch.stack(means, dim=-2).to(landmarks.dtype)


def patch_centers(
    rows: int, cols: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the centres of a grid of patches in normalised image coordinates.

    Args:
        rows: Patches from top to bottom.
        cols: Patches from left to right.
        device: Where the result is put.
        dtype: Its type; torch's default type if None.

    Returns:
        ``(rows * cols, 2)``, x then y in [0, 1], row by row.

    Raises:
        ConfigurationError: A count is below one.

    Examples:
        >>> from facekit.faces import patch_centers
        >>> patch_centers(1, 2)
        tensor([[0.2500, 0.5000],
                [0.7500, 0.5000]])
    """
    if rows < 1 or cols < 1:
        raise ConfigurationError(f"a patch grid needs at least one row and one column, not {rows} x {cols}")
    exact = torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)
    y = (torch.arange(rows, device=device, dtype=exact) + 0.5) / rows
    x = (torch.arange(cols, device=device, dtype=exact) + 0.5) / cols
    centers = torch.stack([x.repeat(rows), y.repeat_interleave(cols)], dim=-1)  # (N, 2)
    return centers.to(dtype or torch.get_default_dtype())


def region_patch_proximity(landmarks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the region-patch proximity mask: minus the distance of each patch centre from each region's centroid.

    Source: Face-LLaVA (arXiv 2504.07198), section 4, the mask ``m_RPP`` of the face-region guided cross-attention.

    Args:
        landmarks: ``(..., 68, 2)``, iBUG-68, x then y in [0, 1] of the image that the grid divides.
        grid: Rows and columns of patches.

    Returns:
        ``(..., rows * cols, 9)`` of the landmarks' type, zero or less; patches row by row. A distance of exactly zero
        has gradient zero. NaN landmarks give NaN, in value and gradient: select the faces that are present first.

    Raises:
        ConfigurationError: Shapes or types that ``region_centroids`` or ``patch_centers`` refuse.

    Examples:
        >>> import torch
        >>> from facekit.faces import region_patch_proximity
        >>> region_patch_proximity(torch.rand(68, 2), grid=(16, 16)).shape
        torch.Size([256, 9])
    """
    centroids = region_centroids(_widen(landmarks))  # (..., M, 2)
    centers = patch_centers(*grid, device=landmarks.device, dtype=centroids.dtype)  # (N, 2)
    offsets = centers[:, None, :] - centroids[..., None, :, :]  # (..., N, M, 2)
    squared = offsets.square().sum(dim=-1)  # (..., N, M)
    touching = squared == 0
    distances = torch.where(touching, 0.0, torch.where(touching, 1.0, squared).sqrt())
    return -distances.to(landmarks.dtype)


def _widen(values: Tensor) -> Tensor:
    """Half types lose the small distances between patches; compute in at least float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32)) if values.is_floating_point() else values
