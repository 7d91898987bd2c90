"""Region attention: one operation, three implementations, one dispatch.

Names resolve on first use, so that importing the package costs no import of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facekit.kernels.absorption import AbsorbedProjections, RegionAttentionWeights, absorb_projections
    from facekit.kernels.dispatch import (
        IMPLEMENTATIONS,
        choose_implementation,
        region_attention,
        requested_implementation,
        use_implementation,
    )
    from facekit.kernels.streaming import stream_region_attention

_HOMES = {
    "AbsorbedProjections": "absorption",
    "RegionAttentionWeights": "absorption",
    "absorb_projections": "absorption",
    "IMPLEMENTATIONS": "dispatch",
    "choose_implementation": "dispatch",
    "region_attention": "dispatch",
    "requested_implementation": "dispatch",
    "use_implementation": "dispatch",
    "stream_region_attention": "streaming",
}

__all__ = [
    "IMPLEMENTATIONS",
    "AbsorbedProjections",
    "RegionAttentionWeights",
    "absorb_projections",
    "choose_implementation",
    "region_attention",
    "requested_implementation",
    "stream_region_attention",
    "use_implementation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
