"""Arguments of vision-language models of transformers: prompts read whole, and what goes on from a shared beginning.

Nothing here is of one family: positions of three axes and types of tokens are given where a model takes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facekit.compat.transformers_positions import has_multimodal_positions, multimodal_positions

TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")
"""Arguments that say of every token whether it is a picture's."""

_OF_TOKENS = ("input_ids", "attention_mask", *TOKEN_TYPES)

CONTINUED = frozenset(
    {
        "facekit", "gemma3", "idefics3", "internvl", "llava", "llava_next", "llava_onevision", "qwen2_5_vl", "qwen2_vl",
        "qwen3_vl", "smolvlm",
    }
)  # fmt: skip
"""Families whose prompts go on from the keys and values of their beginning exactly, by ``config.model_type``.

All visual tokens stand in the beginning and see no words behind them. That is so by test; a family that is not here is
read whole, prompt by prompt, which is right for all of them.
"""


def can_continue(model: nn.Module) -> bool:
    """Whether a prompt may go on from a beginning that was read before; recurrent and chunked layers may not."""
    config: Any = model.config
    kinds = getattr(config.get_text_config(), "layer_types", None) or ()
    return config.model_type in CONTINUED and set(kinds) <= {"full_attention", "sliding_attention"}


def media_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a processor returned of pictures, without what it returned of tokens."""
    return {name: value for name, value in inputs.items() if name not in _OF_TOKENS}


def text_inputs(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor, media: Mapping[str, Any], *, read: int = 0
) -> dict[str, Any]:
    """A model's arguments of the tokens of a batch, without those of its pictures.

    Args:
        model: The model.
        input_ids: ``(B, L)``, those that were read before among them.
        attention_mask: ``(B, L)``.
        media: Its arguments of the pictures in ``input_ids``, one row after the other.
        read: So many first tokens are in the cache already, with all visual ones.
    """
    config: Any = model.config
    arguments: dict[str, Any] = {"input_ids": input_ids[:, read:], "attention_mask": attention_mask}
    image_token_id: int | None = getattr(config, "image_token_id", None)
    is_image = input_ids.eq(-1 if image_token_id is None else image_token_id)
    taken = inspect.signature(model.forward).parameters
    if not read:
        arguments |= {name: is_image.long() for name in TOKEN_TYPES if name in taken}
    own_positions = getattr(model, "prompt_positions", None)
    if own_positions is not None:
        positions = own_positions(input_ids, attention_mask)
        return arguments if positions is None else {**arguments, "position_ids": positions[..., read:]}
    grids = media.get("image_grid_thw")
    if grids is not None and has_multimodal_positions(model):
        positions = (attention_mask.cumsum(-1) - 1).masked_fill(attention_mask == 0, -1)
        if len(grids) and is_image.any():
            positions = multimodal_positions(model, input_ids, positions, is_image, grids)
        arguments["position_ids"] = positions[..., read:]
    return arguments


def extend_inputs(inputs: Mapping[str, Any], ids: Tensor) -> dict[str, Any]:
    """A processor's inputs for one prompt with more tokens behind, none of them a picture's.

    Args:
        inputs: Of batch size 1.
        ids: ``(n,)``.
    """
    longer = dict(inputs)
    for name in _OF_TOKENS:
        if name in inputs:
            value = 1 if name == "attention_mask" else 0
            longer[name] = F.pad(inputs[name], (0, len(ids)), value=value)
    longer["input_ids"] = torch.cat([inputs["input_ids"], ids[None].to(inputs["input_ids"])], dim=1)
    return longer
