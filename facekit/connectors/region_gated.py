"""Region attention behind a projector that stays: FRLP and FRGCA with a gain that starts at zero.

At its start it returns what it is given, bit for bit, so a trained model that gets it answers as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from facekit.connectors.region import RegionGuidedCrossAttention, RegionLandmarkProjector, separate_absent_landmarks
from facekit.errors import ConfigurationError
from facekit.faces import region_centroids
from facekit.kernels import RegionAttentionWeights
from facekit.kernels.reference import region_attention_probabilities
from facekit.spec import closest_match_hint


class GatedRegionCrossAttention(RegionGuidedCrossAttention):
    """FRGCA with a learned gain for each channel, zero at first: ``h_v + gain · linear(softmax(…) V)``.

    The gain is multiplied into the output projection, so the operation and its kernels are those of FRGCA. The output
    starts at unit gain; in the first step only the gain has a gradient, from the second on all parameters have one.

    Args:
        width: D, of the patch tokens.
        num_heads: H.
        proximity: Whether the scores carry the region-patch proximity mask.

    Raises:
        ConfigurationError: D is not a multiple of ``num_heads``.
    """

    output_gain = 1.0

    def __init__(self, width: int, num_heads: int = 8, proximity: bool = True) -> None:
        super().__init__(width, num_heads=num_heads, proximity=proximity)
        self.gain = nn.Parameter(torch.zeros(width))

    def projections(self) -> RegionAttentionWeights:
        """The four projections as the operation takes them, the output's with the gain in it."""
        plain = super().projections()
        return plain._replace(output=plain.output * self.gain[:, None], output_bias=self.output_bias * self.gain)


class RegionEnrichment(nn.Module):
    """FRLP and a gated FRGCA on visual tokens in the language model's space.

    Args:
        width: D, of the visual tokens.
        num_heads: H of FRGCA; divides D.
        proximity: Whether near regions count more (the paper's mask).
        landmark_hidden_width: Hidden width of FRLP's MLPs; by default a quarter of D, at least 64.
        deepstack_levels: How many deepstack features are enriched too, each by an FRGCA of its own.

    Raises:
        ConfigurationError: A width is below one, or D is not a multiple of ``num_heads``.
    """

    settings: ClassVar[tuple[str, ...]] = (
        "width", "num_heads", "proximity", "landmark_hidden_width", "deepstack_levels",
    )  # fmt: skip
    uses_landmarks: ClassVar[bool] = True

    def __init__(
        self,
        width: int,
        num_heads: int = 8,
        proximity: bool = True,
        landmark_hidden_width: int | None = None,
        deepstack_levels: int = 0,
    ) -> None:
        super().__init__()
        self.width, self.num_heads, self.proximity = width, num_heads, proximity
        self.deepstack_levels = deepstack_levels
        self.landmark_projector = RegionLandmarkProjector(width, landmark_hidden_width)
        self.landmark_hidden_width = self.landmark_projector.hidden_width
        self.cross_attention = GatedRegionCrossAttention(width, num_heads, proximity)
        self.deepstack_attention = nn.ModuleList(
            GatedRegionCrossAttention(width, num_heads, proximity) for _ in range(deepstack_levels)
        )

    def forward(
        self, tokens: Tensor, grid: tuple[int, int], landmarks: Tensor, deepstack: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Enrich the visual tokens of frames.

        Args:
            tokens: ``(F, N, D)``.
            grid: Rows and columns of the N tokens, row-major.
            landmarks: ``(F, 68, 2)``, x then y in ``[0, 1]`` of the frame, or outside it; NaN rows are absent.
            deepstack: Deepstack features ``(F, N, D)``, as many as ``deepstack_levels``, or more: those pass through.

        Returns:
            Tokens and deepstack features; those of absent frames as they were.
        """
        known = separate_absent_landmarks(landmarks)
        region_tokens = self.landmark_projector(known.landmarks.to(self.dtype))  # (F, 9, D)
        place: dict[str, Any] = {"grid": grid, "region_positions": region_centroids(known.landmarks)}

        def enrich(attention: nn.Module, values: Tensor) -> Tensor:
            enriched: Tensor = attention(values.to(self.dtype), region_tokens, present=known.present, **place)
            return enriched.to(values.dtype)

        levels = self.deepstack_levels
        behind = tuple(map(enrich, self.deepstack_attention, deepstack[:levels])) + deepstack[levels:]
        return enrich(self.cross_attention, tokens), behind

    def attention_maps(self, tokens: Tensor, grid: tuple[int, int], landmarks: Tensor) -> Tensor:
        """How much each token attends to each face region, ``(F, H, N, 9)``; arguments as in ``forward``."""
        known = separate_absent_landmarks(landmarks)
        maps = region_attention_probabilities(
            tokens.to(self.dtype),
            self.landmark_projector(known.landmarks.to(self.dtype)),
            self.cross_attention.projections(),
            self.num_heads,
            grid,
            region_centroids(known.landmarks) if self.proximity else None,
            0,
        )
        return torch.where(known.present[:, None, None, None], maps, torch.nan)

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the parameters."""
        return self.cross_attention.gain.dtype

    def to_config(self) -> dict[str, Any]:
        """Return JSON-ready values from which ``from_config`` rebuilds the module, without weights."""
        return {name: getattr(self, name) for name in self.settings}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the module that ``to_config`` described, with fresh weights.

        Raises:
            ConfigurationError: A key is missing or unknown.
        """
        for name in config:
            if name not in cls.settings:
                hint = closest_match_hint(name, cls.settings)
                raise ConfigurationError(f"a configuration of region attention has an unknown key '{name}'{hint}")
        if "width" not in config:
            raise ConfigurationError("a configuration of region attention lacks width")
        return cls(**config)
