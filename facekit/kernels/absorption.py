"""Absorption: the dense half of region attention, shared by the eager and the Triton streaming halves.

A frame has hundreds of patches and only a handful of regions, so the query and output projections are applied to the
regions instead of the patches. What is left for the patches is a stream past two small matrices per frame. Both
streaming halves start from exactly these tensors, and autograd differentiates them here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


class RegionAttentionWeights(NamedTuple):
    """The four projections of region attention, in the layout of ``torch.nn.Linear``.

    D is the width of patch tokens, E of region tokens, A of the attention (``num_heads`` heads of ``A / num_heads``).

    Attributes:
        query: ``(A, D)``, applied to patch tokens.
        query_bias: ``(A,)`` or None.
        key: ``(A, E)``, applied to region tokens.
        key_bias: ``(A,)`` or None. It shifts all scores of a patch alike, so the softmax cancels it and its gradient
            is zero; it is kept because checkpoints have it.
        value: ``(A, E)``, applied to region tokens.
        value_bias: ``(A,)`` or None.
        output: ``(D, A)``, applied to the concatenated heads.
        output_bias: ``(D,)`` or None.
    """

    query: Tensor
    query_bias: Tensor | None
    key: Tensor
    key_bias: Tensor | None
    value: Tensor
    value_bias: Tensor | None
    output: Tensor
    output_bias: Tensor | None


class AbsorbedProjections(NamedTuple):
    """What a frame's patches are streamed past; the second axis is head-major (``h * M + m``).

    Attributes:
        keys: ``(F, H*M, D)``, per head ``K_h W_q,h / sqrt(A / H)``: a patch token times a row is a scaled score.
        score_bias: ``(F, H*M)``, per head ``K_h b_q,h / sqrt(A / H)``; zeros where there is no query bias.
        values: ``(F, H*M, D)``, per head ``V_h W_o,hᵀ``: already in the width of patch tokens.
    """

    keys: Tensor
    score_bias: Tensor
    values: Tensor


def absorb_projections(region_tokens: Tensor, weights: RegionAttentionWeights, num_heads: int) -> AbsorbedProjections:
    """Fold the query and output projections into the keys and values of each frame.

    Exact by associativity: ``(X W_qᵀ) K_hᵀ = X (K_h W_q,h)ᵀ`` and ``P_h V_h W_o,hᵀ = P_h (V_h W_o,hᵀ)``.

    Args:
        region_tokens: ``(F, M, E)``.
        weights: the projections; A is a multiple of ``num_heads``.
        num_heads: H.

    Returns:
        The three tensors, in the dtype that the matrix products have (autocast's under autocast).
    """
    scale = (weights.query.shape[0] // num_heads) ** -0.5
    keys = F.linear(region_tokens, weights.key, weights.key_bias) * scale
    values = F.linear(region_tokens, weights.value, weights.value_bias)
    keys_by_head = rearrange(keys, "f m (h d) -> h (f m) d", h=num_heads)
    values_by_head = rearrange(values, "f m (h d) -> h (f m) d", h=num_heads)
    query_by_head = rearrange(weights.query, "(h d) D -> h d D", h=num_heads)
    output_by_head = rearrange(weights.output, "D (h d) -> h d D", h=num_heads)

    regions = region_tokens.shape[1]
    absorbed_keys = rearrange(torch.bmm(keys_by_head, query_by_head), "h (f m) D -> f (h m) D", m=regions)
    absorbed_values = rearrange(torch.bmm(values_by_head, output_by_head), "h (f m) D -> f (h m) D", m=regions)
    if weights.query_bias is None:
        score_bias = absorbed_keys.new_zeros(absorbed_keys.shape[:2])
    else:
        bias_by_head = rearrange(weights.query_bias, "(h d) -> h d 1", h=num_heads)
        score_bias = rearrange(torch.bmm(keys_by_head, bias_by_head), "h (f m) 1 -> f (h m)", m=regions)
    return AbsorbedProjections(absorbed_keys, score_bias, absorbed_values)
