"""Vision encoders: images or clips to patch tokens, from our own, open_clip, timm and Hugging Face models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.encoders.base import VisionEncoder
    from facekit.encoders.farl import FarlEncoder
    from facekit.encoders.fusion import FusionEncoder, build_encoder
    from facekit.encoders.huggingface import HuggingFaceEncoder
    from facekit.encoders.iresnet import IResNetEncoder
    from facekit.encoders.languagebind import LanguageBindEncoder
    from facekit.encoders.openclip import OpenClipEncoder
    from facekit.encoders.timm import TimmEncoder
    from facekit.encoders.tiny import TinyEncoder
    from facekit.encoders.transform import ImageTransform

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["VisionEncoder"],
        "farl": ["FarlEncoder"],
        "fusion": ["FusionEncoder", "build_encoder"],
        "huggingface": ["HuggingFaceEncoder"],
        "iresnet": ["IResNetEncoder"],
        "languagebind": ["LanguageBindEncoder"],
        "openclip": ["OpenClipEncoder"],
        "timm": ["TimmEncoder"],
        "tiny": ["TinyEncoder"],
        "transform": ["ImageTransform"],
    },
)
