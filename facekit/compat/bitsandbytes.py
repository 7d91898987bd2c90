"""Layers that bitsandbytes packed in 4 or 8 bits, turned into ordinary ones."""

from __future__ import annotations

from typing import Any

from peft.utils.integrations import dequantize_bnb_weight
from torch import Tensor, nn


def unpacked_weight(layer: Any) -> Tensor:
    """The weight ``(out, in)`` of a packed layer in floating point.

    Seen: bitsandbytes 0.48 to 0.50, peft 0.19 to 0.21.
    Why: bitsandbytes has one function per format, which PEFT's helper tells apart; that of 8 bits wants the layer's
        state, which is not documented.
    Until: one public function unpacks either.
    """
    return dequantize_bnb_weight(layer.weight, state=getattr(layer, "state", None)).detach()


def restore_layout(module: nn.Module) -> None:
    """Put 4-bit weights into the layout again in which they are trained and unpacked.

    On some CPUs they are rearranged at the first pass in evaluation mode, with scales rounded to 16 bits, and training
    does not expect that; the library's own way back is to be asked for the state.

    Seen: bitsandbytes 0.49 and 0.50; earlier versions do not rearrange.
    Why: the way back is a side effect of ``state_dict``.
    Until: training and unpacking take either layout.
    """
    for layer in module.modules():
        state = getattr(getattr(layer, "weight", None), "quant_state", None)
        if getattr(state, "packing_format_for_cpu", False):
            layer.state_dict()


def forget_quantization(model: Any) -> None:
    """Take away the marks by which a model of transformers says that it is packed, once it is not.

    Seen: transformers 5.17 and 5.24.
    Why: ``model.dequantize()`` does so too, but does not know layers with adapters on them.
    Until: it does.
    """
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None:
        quantizer.remove_quantization_config(model)
    for mark in ("is_loaded_in_4bit", "is_loaded_in_8bit"):
        if getattr(model, mark, False):
            setattr(model, mark, False)
