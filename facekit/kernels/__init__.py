"""Region attention: one operation, four implementations, one dispatch.

Names resolve on first use, so that importing the package costs no import of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

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

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "absorption": ["AbsorbedProjections", "RegionAttentionWeights", "absorb_projections"],
        "dispatch": [
            "IMPLEMENTATIONS",
            "choose_implementation",
            "region_attention",
            "requested_implementation",
            "use_implementation",
        ],
        "streaming": ["stream_region_attention"],
    },
)
