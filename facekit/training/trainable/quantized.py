"""Training on a language model quantised to 4 or 8 bits, saved as whole weights.

Packed weights are no checkpoint of their own. Adapters learned what the unpacked weights lack, so it is those that
they are merged into: the saved model computes what was trained.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from facekit.compat.bitsandbytes import forget_quantization, restore_layout, unpacked_weight
from facekit.compat.peft import is_adapted
from facekit.models.modeling import FaceKitForConditionalGeneration

_PACKED = ("Linear4bit", "Linear8bitLt")


def is_quantized(model: FaceKitForConditionalGeneration) -> bool:
    """Whether the language model's weights are packed."""
    return not all(parameter.is_floating_point() for parameter in model.language_model.parameters())


def unpack(language_model: PreTrainedModel) -> None:
    """Turn packed layers into ordinary ones in place, with the adapters on them merged.

    Args:
        language_model: Its floating type becomes that of the weights.
    """
    restore_layout(language_model)
    dtype = language_model.dtype
    for name, module in list(language_model.named_modules()):
        layer: Any = module.get_base_layer() if is_adapted(module) else module
        if type(layer).__name__ not in _PACKED or ".base_layer" in name:
            continue
        weight = unpacked_weight(layer).float()
        if is_adapted(module):
            for adapter in module.active_adapters:
                weight = weight + module.get_delta_weight(adapter).detach().float()
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        plain.weight = nn.Parameter(weight.to(dtype))
        if layer.bias is not None:
            plain.bias = nn.Parameter(layer.bias.detach().to(dtype))
        language_model.set_submodule(name, plain)
    forget_quantization(language_model)
