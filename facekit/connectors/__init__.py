"""Connectors: patch tokens, and landmarks where there are some, to tokens in the language model's space.

Names resolve on first use, so that importing the package costs no import of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facekit.connectors.base import Connector
    from facekit.connectors.landmark_tokens import LandmarkTokenConnector, PointLandmarkProjector
    from facekit.connectors.mlp import MlpConnector
    from facekit.connectors.pixel_shuffle import PixelShuffleConnector, shuffle_patches
    from facekit.connectors.region import RegionConnector, RegionGuidedCrossAttention, RegionLandmarkProjector
    from facekit.connectors.region_released import (
        ReleasedLandmarkProjector,
        ReleasedRegionConnector,
        ReleasedRegionCrossAttention,
    )
    from facekit.connectors.resampler import ResamplerConnector

_HOMES = {
    "Connector": "base",
    "LandmarkTokenConnector": "landmark_tokens",
    "MlpConnector": "mlp",
    "PixelShuffleConnector": "pixel_shuffle",
    "PointLandmarkProjector": "landmark_tokens",
    "RegionConnector": "region",
    "RegionGuidedCrossAttention": "region",
    "RegionLandmarkProjector": "region",
    "ReleasedLandmarkProjector": "region_released",
    "ReleasedRegionConnector": "region_released",
    "ReleasedRegionCrossAttention": "region_released",
    "ResamplerConnector": "resampler",
    "shuffle_patches": "pixel_shuffle",
}

__all__ = [
    "Connector",
    "LandmarkTokenConnector",
    "MlpConnector",
    "PixelShuffleConnector",
    "PointLandmarkProjector",
    "RegionConnector",
    "RegionGuidedCrossAttention",
    "RegionLandmarkProjector",
    "ReleasedLandmarkProjector",
    "ReleasedRegionConnector",
    "ReleasedRegionCrossAttention",
    "ResamplerConnector",
    "shuffle_patches",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
