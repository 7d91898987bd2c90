"""The demo: data, training, evaluation and a report in one call; names load when first used."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "photograph": ["Photograph"],
        "run": ["DemoResult", "run_demo"],
        "settings": ["DemoSettings"],
    },
)
