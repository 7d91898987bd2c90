"""InternViT, the vision encoder of InternVL and FaceLLM, from its authors' checkpoints.

The official repositories bring code of their own, which is never run: their configuration and their weights' names are
translated to ``InternVLVisionModel``, and checkpoints of whole models give their vision part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from facekit.encoders.checkpoints import load_strictly, read_checkpoint
from facekit.errors import CheckpointError

OFFICIAL_KIND = "intern_vit_6b"
_PREFIXES = ("vision_tower.", "model.vision_tower.", "vision_model.")
_BARE = ("embeddings.", "encoder.", "layernorm.")
_LAYER = re.compile(r"encoder\.layers?\.(\d+)\.(.+)")
_SETTINGS = {
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "qkv_bias": "attention_bias",
    "qk_normalization": "use_qk_norm",
    "hidden_act": "hidden_act",
    "norm_type": "norm_type",
    "layer_norm_eps": "layer_norm_eps",
    "image_size": "image_size",
    "patch_size": "patch_size",
}
_EMBEDDINGS = {
    "embeddings.class_embedding": "embeddings.cls_token",
    "embeddings.position_embedding": "embeddings.position_embeddings",
    "embeddings.patch_embedding.weight": "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embedding.bias": "embeddings.patch_embeddings.projection.bias",
}
_IN_A_LAYER = {
    "ls1": "lambda_1",
    "ls2": "lambda_2",
    "norm1.": "layernorm_before.",
    "norm2.": "layernorm_after.",
    "attn.proj.": "attention.projection_layer.",
    "attn.q_norm.": "attention.q_norm.",
    "attn.k_norm.": "attention.k_norm.",
}


def translate_settings(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Translate an official vision configuration to the entries of transformers' ``InternVLVisionConfig``.

    Args:
        values: The configuration, of ``model_type`` ``intern_vit_6b``.
        source: Where it comes from, for messages.

    Raises:
        CheckpointError: An entry that decides the architecture is missing.
    """
    missing = [name for name in _SETTINGS if name not in values]
    if missing:
        raise CheckpointError(f"the InternViT configuration of '{source}' lacks {', '.join(missing)}; fetch it again")
    return {ours: values[theirs] for theirs, ours in _SETTINGS.items()}


def translate_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give an official InternViT's weights the names of ``InternVLVisionModel``; a name that it lacks stays.

    The joint projection to queries, keys and values is split into its three parts.
    """
    translated: dict[str, Tensor] = {}
    for name, value in weights.items():
        match = _LAYER.fullmatch(name)
        if match is None:
            translated[_EMBEDDINGS.get(name, name)] = value
            continue
        at, inside = f"encoder.layer.{match[1]}.", match[2]
        if inside.startswith("attn.qkv."):
            parts = zip("qkv", value.chunk(3), strict=True)
            translated |= {
                f"{at}attention.{part}_proj.{inside.removeprefix('attn.qkv.')}": rows for part, rows in parts
            }
            continue
        start = next((theirs for theirs in _IN_A_LAYER if inside.startswith(theirs)), "")
        translated[at + _IN_A_LAYER.get(start, "") + inside.removeprefix(start)] = value
    return translated


def load_internvit(model: Any, source: str, revision: str = "main") -> None:
    """Load an ``InternVLVisionModel`` from InternViT or a whole InternVL, in transformers' layout or the official one.

    Args:
        model: An ``InternVLVisionModel`` with as many layers as are used; those after them are left out, as is the
            language model.
        source: Folder or hub id.
        revision: Revision on the hub.

    Raises:
        CheckpointError: Weights are missing, left over or of another shape, or a file holds pickled code.
    """
    weights = read_checkpoint(source, revision, (*_PREFIXES, *_BARE))
    prefix = next((p for p in _PREFIXES if any(name.startswith(p) for name in weights)), "")
    weights = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if any(name in weights for name in _EMBEDDINGS):
        weights = translate_weights(weights)
    count = model.config.num_hidden_layers
    used = {n: v for n, v in weights.items() if (match := _LAYER.match(n)) is None or int(match[1]) < count}
    load_strictly(model, used, f"'{source}'")
