"""The demo: data, training, evaluation and a report in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.demo.photograph import Photograph
    from facekit.demo.run import DemoResult, run_demo
    from facekit.demo.settings import DemoSettings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "photograph": ["Photograph"],
        "run": ["DemoResult", "run_demo"],
        "settings": ["DemoSettings"],
    },
)
