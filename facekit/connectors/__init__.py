"""Connectors: patch tokens, and landmarks where there are some, to tokens in the language model's space.

Names resolve on first use, so that importing the package costs no import of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.connectors.base import Connector, count_prefix_tokens
    from facekit.connectors.landmark_tokens import LandmarkTokenConnector, PointLandmarkProjector
    from facekit.connectors.mlp import MlpConnector
    from facekit.connectors.pixel_shuffle import PixelShuffleConnector, shuffle_patches
    from facekit.connectors.region import (
        PresentLandmarks,
        RegionConnector,
        RegionGuidedCrossAttention,
        RegionLandmarkProjector,
        separate_absent_landmarks,
    )
    from facekit.connectors.region_gated import GatedRegionCrossAttention, RegionEnrichment
    from facekit.connectors.region_released import (
        ReleasedLandmarkProjector,
        ReleasedRegionConnector,
        ReleasedRegionCrossAttention,
    )
    from facekit.connectors.resampler import ResamplerConnector

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Connector", "count_prefix_tokens"],
        "landmark_tokens": ["LandmarkTokenConnector", "PointLandmarkProjector"],
        "mlp": ["MlpConnector"],
        "pixel_shuffle": ["PixelShuffleConnector", "shuffle_patches"],
        "region": [
            "PresentLandmarks",
            "RegionConnector",
            "RegionGuidedCrossAttention",
            "RegionLandmarkProjector",
            "separate_absent_landmarks",
        ],
        "region_gated": ["GatedRegionCrossAttention", "RegionEnrichment"],
        "region_released": ["ReleasedLandmarkProjector", "ReleasedRegionConnector", "ReleasedRegionCrossAttention"],
        "resampler": ["ResamplerConnector"],
    },
)
