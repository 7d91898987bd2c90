"""The region-guided connector of the released Face-LLaVA code, for its weights.

It departs from the paper's form in ``region.py``: linear layers instead of MLPs, no proximity mask, and a LayerNorm
with a branch of weight 0.1 behind the attention.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from facekit.connectors.mlp import build_projector
from facekit.connectors.region import LandmarkGuidedConnector
from facekit.errors import ConfigurationError
from facekit.faces import FACE_REGIONS
from facekit.faces.regions import NUM_LANDMARKS
from facekit.kernels import RegionAttentionWeights, region_attention


class ReleasedLandmarkProjector(nn.Module):
    """One linear layer per face region plus one of all landmarks: the released form of FRLP.

    Args:
        output_width: D, the width of the region tokens.
    """

    def __init__(self, output_width: int) -> None:
        super().__init__()
        self.region_layers = nn.ModuleDict(
            {name: nn.Linear(2 * len(points), output_width) for name, points in FACE_REGIONS.items()}
        )
        self.global_layer = nn.Linear(2 * NUM_LANDMARKS, output_width)

    def reset_parameters(self) -> None:
        """Draw all weights anew, as ``torch.nn.Linear`` does."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def forward(self, landmarks: Tensor) -> Tensor:
        """Project the landmarks of each frame.

        Args:
            landmarks: ``(F, 68, 2)``, finite, in ``[0, 1]``.

        Returns:
            ``(F, 9, D)``, regions in the order of ``facekit.faces.FACE_REGIONS``.
        """
        local_tokens = [
            self.region_layers[name](rearrange(landmarks[:, points.start : points.stop], "f l xy -> f (l xy)"))
            for name, points in FACE_REGIONS.items()
        ]
        return torch.stack(local_tokens, dim=1) + self.global_layer(rearrange(landmarks, "f l xy -> f 1 (l xy)"))


class ReleasedRegionCrossAttention(nn.Module):
    """The released form of FRGCA: ``u = LayerNorm(h_v + MHA(h_v, h_l, h_l))``, out ``0.1 · linear(u) + h_v``.

    The attention and its residual run through ``facekit.kernels.region_attention``; behind the LayerNorm a dense layer
    per patch remains, which no algebra absorbs. Parameters are named as in ``torch.nn.MultiheadAttention``.

    Args:
        width: D.
        num_heads: H; the released weights have 8.

    Raises:
        ConfigurationError: ``width`` is not a multiple of ``num_heads``.
    """

    branch_weight = 0.1

    def __init__(self, width: int, num_heads: int = 8) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise ConfigurationError(f"width {width} is not a multiple of num_heads={num_heads}; choose a divisor")
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj_weight = nn.Parameter(torch.empty(width, width))
        self.out_proj_bias = nn.Parameter(torch.empty(width))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew, as ``torch.nn.MultiheadAttention`` and ``torch.nn.Linear`` do."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.kaiming_uniform_(self.out_proj_weight, a=5**0.5)
        nn.init.zeros_(self.in_proj_bias)
        nn.init.zeros_(self.out_proj_bias)
        self.norm.reset_parameters()
        self.linear.reset_parameters()

    def projections(self) -> RegionAttentionWeights:
        """The four projections as the operation takes them."""
        query, key, value = self.in_proj_weight.chunk(3)
        query_bias, key_bias, value_bias = self.in_proj_bias.chunk(3)
        return RegionAttentionWeights(
            query, query_bias, key, key_bias, value, value_bias, self.out_proj_weight, self.out_proj_bias
        )

    def forward(
        self,
        patch_tokens: Tensor,
        region_tokens: Tensor,
        *,
        grid: tuple[int, int] | None = None,
        region_positions: Tensor | None = None,
        num_prefix_tokens: int = 0,
        present: Tensor | None = None,
    ) -> Tensor:
        """Enrich the patches of each frame.

        Args:
            patch_tokens: h_v, ``(F, N, D)``.
            region_tokens: h_l, ``(F, M, D)``.
            grid: unused, there is no proximity mask.
            region_positions: unused.
            num_prefix_tokens: unused, all tokens are alike.
            present: ``(F,)`` bool; other frames pass through.

        Returns:
            ``(F, N, D)``.

        Raises:
            ConfigurationError: shapes disagree.
        """
        attended = region_attention(
            patch_tokens, region_tokens, self.projections(), num_heads=self.num_heads, present=present
        )
        enriched = patch_tokens + self.branch_weight * self.linear(self.norm(attended)).to(patch_tokens.dtype)
        return enriched if present is None else torch.where(present[:, None, None], enriched, patch_tokens)


class ReleasedRegionConnector(LandmarkGuidedConnector):
    """Vision projector and the released forms of FRLP and FRGCA, for the published Face-LLaVA weights.

    Args:
        input_width: C.
        output_width: D.
        depth: linear layers of the vision projector.
        num_heads: H; divides D.
        keep_prefix_tokens: whether class tokens become visual tokens; the released video model keeps them.

    Raises:
        ConfigurationError: a width or depth below one, or D not a multiple of ``num_heads``.
    """

    options: ClassVar = {"depth": int, "num_heads": int, "keep_prefix_tokens": bool}

    def __init__(
        self,
        input_width: int,
        output_width: int,
        depth: int = 2,
        num_heads: int = 8,
        keep_prefix_tokens: bool = False,
    ) -> None:
        super().__init__()
        self.input_width = input_width
        self.output_width = output_width
        self.depth = depth
        self.num_heads = num_heads
        self.keep_prefix_tokens = keep_prefix_tokens
        self.vision_projector = build_projector(input_width, output_width, depth)
        self.landmark_projector = ReleasedLandmarkProjector(output_width)
        self.cross_attention = ReleasedRegionCrossAttention(output_width, num_heads)
