"""Packing layers in 4 or 8 bits with bitsandbytes, and unpacking them into ordinary ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor, device, nn
from torch import dtype as Dtype


def packed_layer(layer: nn.Linear, load_in: str, dtype: Dtype) -> nn.Module:
    """Pack a linear layer: NF4 with doubly quantised scales for ``4bit``, LLM.int8() for ``8bit``.

    Args:
        layer: The layer, on any device.
        load_in: ``4bit`` or ``8bit``.
        dtype: Floating type in which the packed layer multiplies.

    Seen: bitsandbytes 0.48 to 0.50.
    Why: a weight is packed as a side effect of moving it to a device, also to that on which it lies.
    Until: there is a public function that packs a layer.
    """
    import bitsandbytes

    where: device = layer.weight.device
    has_bias = layer.bias is not None
    packed: Any
    if load_in == "4bit":
        packed = bitsandbytes.nn.Linear4bit(
            layer.in_features, layer.out_features, has_bias, compute_dtype=dtype, quant_type="nf4", device="meta"
        )
        packed.weight = bitsandbytes.nn.Params4bit(
            layer.weight.detach(), requires_grad=False, compress_statistics=True, quant_type="nf4", module=packed
        )
    else:
        packed = bitsandbytes.nn.Linear8bitLt(
            layer.in_features, layer.out_features, has_bias, has_fp16_weights=False, threshold=6.0, device="meta"
        )
        packed.weight = bitsandbytes.nn.Int8Params(layer.weight.detach(), requires_grad=False, has_fp16_weights=False)
    if has_bias:
        packed.bias = nn.Parameter(layer.bias.detach(), requires_grad=False)
    return packed.train(layer.training).to(where)  # type: ignore[no-any-return]


def unpacked_weight(layer: Any) -> Tensor:
    """The weight ``(out, in)`` of a packed layer in floating point.

    Seen: bitsandbytes 0.48 to 0.50, peft 0.19 to 0.21.
    Why: bitsandbytes has one function per format, which PEFT's helper tells apart; that of 8 bits wants the layer's
        state, which is not documented.
    Until: one public function unpacks either.
    """
    from peft.utils.integrations import dequantize_bnb_weight  # imports bitsandbytes, which takes a second

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
