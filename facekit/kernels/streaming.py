"""The streaming half of region attention in eager PyTorch: patches are read once past the absorbed projections.

Everything that is per patch (proximity, softmax, residual) is defined here for the eager form; the fused Triton twin
has the same signature.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from facekit.faces import patch_centers


def patch_proximity(region_positions: Tensor, grid: tuple[int, int], num_prefix_tokens: int = 0) -> Tensor:
    """Minus the distance from each patch centre to each region; prefix tokens, which are nowhere, get zero.

    Face-LLaVA (arXiv 2504.07198), section 4, the region-patch proximity mask.

    Args:
        region_positions: ``(F, M, 2)``, x then y, in ``[0, 1]`` of the image.
        grid: rows and columns of the patches.
        num_prefix_tokens: P, tokens before the patches.

    Returns:
        ``(F, P + rows*cols, M)``, at least float32: half precision would quantise positions to a tenth of a patch.
    """
    positions = region_positions.to(torch.promote_types(region_positions.dtype, torch.float32))
    centers = patch_centers(*grid, device=positions.device, dtype=positions.dtype)
    distance = torch.linalg.vector_norm(positions[:, None] - centers[None, :, None], dim=-1)
    return torch.nn.functional.pad(-distance, (0, 0, num_prefix_tokens, 0))


def stream_region_attention(
    patch_tokens: Tensor,
    absorbed_keys: Tensor,
    score_bias: Tensor,
    absorbed_values: Tensor,
    output_bias: Tensor | None,
    region_positions: Tensor | None,
    present: Tensor | None,
    num_heads: int,
    grid: tuple[int, int] | None,
    num_prefix_tokens: int,
) -> Tensor:
    """Attend from every patch to its frame's regions and add the result to the patch.

    ``out = X + softmax(X keysᵀ + score_bias + proximity) values + output_bias``, softmax over the M regions of each
    head, in float32 at least. Frames that are not ``present`` come back as they were, with zero gradients to
    everything but ``patch_tokens``.

    Args:
        patch_tokens: X, ``(F, N, D)``.
        absorbed_keys: ``(F, H*M, D)``, head-major, scaled.
        score_bias: ``(F, H*M)``.
        absorbed_values: ``(F, H*M, D)``.
        output_bias: ``(D,)`` or None.
        region_positions: ``(F, M, 2)`` or None for attention by content alone.
        present: ``(F,)`` bool or None for all; absorbed tensors and positions of absent frames must be finite.
        num_heads: H.
        grid: rows and columns, needed with ``region_positions``.
        num_prefix_tokens: tokens before the patches; they attend by content alone.

    Returns:
        ``(F, N, D)`` in the dtype of ``patch_tokens``.
    """
    proximity = None
    if region_positions is not None and grid is not None:
        proximity = patch_proximity(region_positions, grid, num_prefix_tokens)
    weights = region_weights(patch_tokens, absorbed_keys, score_bias, proximity, present, num_heads)
    return apply_region_weights(patch_tokens, weights, absorbed_values, output_bias, present)


def region_weights(
    patch_tokens: Tensor,
    absorbed_keys: Tensor,
    score_bias: Tensor,
    proximity: Tensor | None,
    present: Tensor | None,
    num_heads: int,
) -> Tensor:
    """The softmax over regions of ``stream_region_attention``, with ``proximity`` ``(F, N, M)`` or None.

    Returns:
        ``(F, N, H, M)``, at least float32, zero in frames that are not ``present``.
    """
    scores = torch.bmm(patch_tokens, absorbed_keys.transpose(1, 2))
    scores = scores.to(torch.promote_types(patch_tokens.dtype, torch.float32)) + score_bias[:, None]
    scores = rearrange(scores, "f n (h m) -> f n h m", h=num_heads)
    if proximity is not None:
        scores = scores + proximity[:, :, None].to(scores.dtype)
    probabilities = torch.softmax(scores, dim=-1)
    return probabilities if present is None else torch.where(present[:, None, None, None], probabilities, 0.0)


def apply_region_weights(
    patch_tokens: Tensor,
    weights: Tensor,
    absorbed_values: Tensor,
    output_bias: Tensor | None,
    present: Tensor | None,
) -> Tensor:
    """``X + weights values + output_bias``, the last in frames that are ``present``."""
    columns = rearrange(weights, "f n h m -> f n (h m)").to(patch_tokens.dtype)
    if output_bias is None:
        return torch.baddbmm(patch_tokens, columns, absorbed_values)
    shift = output_bias if present is None else torch.where(present[:, None, None], output_bias, 0.0)
    return (patch_tokens + shift).baddbmm_(columns, absorbed_values)  # in place: one pass over the result less
