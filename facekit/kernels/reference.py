"""The reference implementation of region attention, as the textbook writes it: project, attend, project back.

All other implementations are tested against it. It is also the faster order when a frame has few patches per region.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor

from facekit.kernels.absorption import RegionAttentionWeights
from facekit.kernels.streaming import patch_proximity


def textbook_region_attention(
    patch_tokens: Tensor,
    region_tokens: Tensor,
    weights: RegionAttentionWeights,
    num_heads: int,
    grid: tuple[int, int] | None,
    region_positions: Tensor | None,
    num_prefix_tokens: int,
    present: Tensor | None,
) -> Tensor:
    """Cross-attention from patches to regions with the proximity bias, the output projection and the residual.

    Face-LLaVA (arXiv 2504.07198), section 4: ``h_v + linear(softmax(Q Kᵀ / sqrt(d) + m_RPP) V)``, per head.

    Args:
        patch_tokens: ``(F, N, D)``.
        region_tokens: ``(F, M, E)``, finite also in absent frames.
        weights: the four projections.
        num_heads: H.
        grid: rows and columns, needed with ``region_positions``.
        region_positions: ``(F, M, 2)``, finite, or None.
        num_prefix_tokens: tokens before the patches.
        present: ``(F,)`` bool or None.

    Returns:
        ``(F, N, D)`` in the dtype of ``patch_tokens``.
    """
    dtype = patch_tokens.dtype
    probabilities = region_attention_probabilities(
        patch_tokens, region_tokens, weights, num_heads, grid, region_positions, num_prefix_tokens
    )
    value = rearrange(F.linear(region_tokens, weights.value, weights.value_bias), "f m (h d) -> f h m d", h=num_heads)
    attended = rearrange(
        einsum(probabilities.to(value.dtype), value, "f h n m, f h m d -> f h n d"), "f h n d -> f n (h d)"
    )

    enriched = patch_tokens + F.linear(attended, weights.output, weights.output_bias).to(dtype)
    return enriched if present is None else torch.where(present[:, None, None], enriched, patch_tokens)


def region_attention_probabilities(
    patch_tokens: Tensor,
    region_tokens: Tensor,
    weights: RegionAttentionWeights,
    num_heads: int,
    grid: tuple[int, int] | None,
    region_positions: Tensor | None,
    num_prefix_tokens: int,
) -> Tensor:
    """How much each patch attends to each region, per head; arguments as in ``textbook_region_attention``.

    Returns:
        ``(F, H, N, M)`` in float32 or wider; a patch's probabilities over the regions sum to one.
    """
    query = rearrange(F.linear(patch_tokens, weights.query, weights.query_bias), "f n (h d) -> f h n d", h=num_heads)
    key = rearrange(F.linear(region_tokens, weights.key, weights.key_bias), "f m (h d) -> f h m d", h=num_heads)
    scores = einsum(query, key, "f h n d, f h m d -> f h n m") * query.shape[-1] ** -0.5
    scores = scores.to(torch.promote_types(patch_tokens.dtype, torch.float32))
    if region_positions is not None and grid is not None:
        scores = scores + patch_proximity(region_positions, grid, num_prefix_tokens)[:, None].to(scores.dtype)
    return torch.softmax(scores, dim=-1)
