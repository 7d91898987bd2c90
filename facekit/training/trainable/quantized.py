"""Training on a language model in 4 or 8 bits: the end has whole weights.

Packed weights are no checkpoint of their own. Adapters learned what the unpacked weights lack, so it is those that
they are merged into: the saved model computes what was trained.
"""

from __future__ import annotations

from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.integrations import dequantize_bnb_weight
from torch import nn
from transformers import PreTrainedModel

from facekit.models.modeling import FaceKitForConditionalGeneration

_PACKED = ("Linear4bit", "Linear8bitLt")


def is_quantized(model: FaceKitForConditionalGeneration) -> bool:
    """Whether the language model's weights are packed."""
    return not all(parameter.is_floating_point() for parameter in model.language_model.parameters())


def restore_layout(module: nn.Module) -> None:
    """Put 4-bit weights into the layout again in which they are trained and unpacked.

    On some CPUs bitsandbytes rearranges them at the first pass in evaluation mode, with scales rounded to 16 bits, and
    training does not expect that; its own way back is to be asked for the state.
    """
    for layer in module.modules():
        state = getattr(getattr(layer, "weight", None), "quant_state", None)
        if getattr(state, "packing_format_for_cpu", False):
            layer.state_dict()


def unpack(language_model: PreTrainedModel) -> None:
    """Turn packed layers into ordinary ones in place, with the adapters on them merged.

    Args:
        language_model: Its floating type becomes that of the weights.
    """
    restore_layout(language_model)
    dtype = language_model.dtype
    for name, module in list(language_model.named_modules()):
        layer: Any = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
        if type(layer).__name__ not in _PACKED or ".base_layer" in name:
            continue
        weight = dequantize_bnb_weight(layer.weight, state=getattr(layer, "state", None)).detach().float()
        if isinstance(module, BaseTunerLayer):
            for adapter in module.active_adapters:
                weight = weight + module.get_delta_weight(adapter).detach().float()  # type: ignore[operator]
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        plain.weight = nn.Parameter(weight.to(dtype))
        if layer.bias is not None:
            plain.bias = nn.Parameter(layer.bias.detach().to(dtype))
        language_model.set_submodule(name, plain)
    quantizer: Any = getattr(language_model, "hf_quantizer", None)
    if quantizer is not None:
        quantizer.remove_quantization_config(language_model)
    for mark in ("is_loaded_in_4bit", "is_loaded_in_8bit"):
        if getattr(language_model, mark, False):
            setattr(language_model, mark, False)
