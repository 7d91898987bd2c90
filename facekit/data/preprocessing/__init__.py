"""Faces out of whole datasets: detect, crop, landmarks, frames; in parallel, resumable, into shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.data.preprocessing.engines import ENGINES, check_engine
    from facekit.data.preprocessing.failures import RecordFailure
    from facekit.data.preprocessing.features import FeatureResult, check_encoders, encode_shards
    from facekit.data.preprocessing.pipeline import PreprocessProgress, PreprocessResult, preprocess
    from facekit.data.preprocessing.planning import PreprocessPlan, plan_preprocessing
    from facekit.data.preprocessing.settings import PreprocessSettings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "engines": ["ENGINES", "check_engine"],
        "failures": ["RecordFailure"],
        "features": ["FeatureResult", "check_encoders", "encode_shards"],
        "pipeline": ["PreprocessProgress", "PreprocessResult", "preprocess"],
        "planning": ["PreprocessPlan", "plan_preprocessing"],
        "settings": ["PreprocessSettings"],
    },
)
