"""Faces out of whole datasets: detect, crop, landmarks, frames; in parallel, resumable, into shards."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "engines": ["ENGINES"],
        "failures": ["RecordFailure"],
        "features": ["FeatureResult", "encode_shards"],
        "pipeline": ["PreprocessProgress", "PreprocessResult", "preprocess"],
        "settings": ["PreprocessSettings"],
    },
)
