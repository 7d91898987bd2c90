"""Connectors: patch tokens, and landmarks where there are some, to tokens in the language model's space.

Names resolve on first use, so that importing the package costs no import of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facekit.connectors.base import Connector
    from facekit.connectors.mlp import MlpConnector
    from facekit.connectors.region import RegionConnector, RegionGuidedCrossAttention, RegionLandmarkProjector
    from facekit.connectors.region_released import (
        ReleasedLandmarkProjector,
        ReleasedRegionConnector,
        ReleasedRegionCrossAttention,
    )

_HOMES = {
    "Connector": "base",
    "MlpConnector": "mlp",
    "RegionConnector": "region",
    "RegionGuidedCrossAttention": "region",
    "RegionLandmarkProjector": "region",
    "ReleasedLandmarkProjector": "region_released",
    "ReleasedRegionConnector": "region_released",
    "ReleasedRegionCrossAttention": "region_released",
}

__all__ = [
    "Connector",
    "MlpConnector",
    "RegionConnector",
    "RegionGuidedCrossAttention",
    "RegionLandmarkProjector",
    "ReleasedLandmarkProjector",
    "ReleasedRegionConnector",
    "ReleasedRegionCrossAttention",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
