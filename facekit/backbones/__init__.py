"""Language models: a causal LM and its tokenizer, loaded by spec; text only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.backbones.base import Backbone
    from facekit.backbones.gguf import load_gguf_backbone
    from facekit.backbones.huggingface import load_huggingface_backbone
    from facekit.backbones.image_token import add_image_token
    from facekit.backbones.lora import lora_target_modules
    from facekit.backbones.tiny import load_tiny_backbone

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Backbone"],
        "gguf": ["load_gguf_backbone"],
        "huggingface": ["load_huggingface_backbone"],
        "image_token": ["add_image_token"],
        "lora": ["lora_target_modules"],
        "tiny": ["load_tiny_backbone"],
    },
)
