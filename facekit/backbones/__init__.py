"""Language models: a causal LM and its tokenizer, loaded by spec; text only."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facekit.backbones.base import Backbone
    from facekit.backbones.gguf import load_gguf_backbone
    from facekit.backbones.huggingface import load_huggingface_backbone
    from facekit.backbones.image_token import add_image_token
    from facekit.backbones.lora import lora_target_modules
    from facekit.backbones.tiny import load_tiny_backbone

__all__ = [
    "Backbone",
    "add_image_token",
    "load_gguf_backbone",
    "load_huggingface_backbone",
    "load_tiny_backbone",
    "lora_target_modules",
]

_LAZY = {
    "Backbone": "facekit.backbones.base",
    "add_image_token": "facekit.backbones.image_token",
    "load_gguf_backbone": "facekit.backbones.gguf",
    "load_huggingface_backbone": "facekit.backbones.huggingface",
    "load_tiny_backbone": "facekit.backbones.tiny",
    "lora_target_modules": "facekit.backbones.lora",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'facekit.backbones' has no attribute {name!r}")
