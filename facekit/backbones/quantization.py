"""Language models in 4 or 8 bits through bitsandbytes: settings for loading one, and packing one that is loaded."""

from __future__ import annotations

import importlib.util

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from facekit.compat.bitsandbytes import packed_layer
from facekit.errors import InvalidSpecError, MissingExtraError

WIDTHS = ("4bit", "8bit")
PACKED_BYTES = {"4bit": 0.5 + 1 / 64 + 4 / (64 * 256), "8bit": 1.0}
"""Bytes of a packed value: 4 bits, a scale of 8 bits for each 64 values, and one of 32 bits for 256 of those."""
_PACKAGES = ("bitsandbytes", "accelerate")


def read_quantization(load_in: str, dtype: torch.dtype | None) -> BitsAndBytesConfig:
    """Turn the option ``load_in`` into the settings of transformers.

    Four bits are NF4 with doubly quantised scales (Dettmers et al. 2023, arXiv 2305.14314, section 3), eight bits
    LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339).

    Args:
        load_in: ``4bit`` or ``8bit``.
        dtype: Floating type of products and of what is not quantised; bfloat16 where None.

    Raises:
        InvalidSpecError: ``load_in`` is another value.
        MissingExtraError: bitsandbytes or accelerate is not installed.
    """
    check_quantization(load_in)
    if load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if dtype is None else dtype,
    )


def check_quantization(load_in: str) -> None:
    """Make sure that packing can be done here.

    Raises:
        InvalidSpecError: ``load_in`` is neither ``4bit`` nor ``8bit``.
        MissingExtraError: bitsandbytes or accelerate is not installed.
    """
    if load_in not in WIDTHS:
        raise InvalidSpecError(f"load_in={load_in} is neither 4bit nor 8bit")
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"load_in={load_in} needs {', '.join(missing)}; install it with: pip install 'facekit-mllm[quantization]'"
        )


def quantize(language_model: PreTrainedModel, load_in: str) -> None:
    """Pack a loaded language model's linear layers in place, as loading it so would; its output head stays as it is.

    Adapters on a layer stay in their floating type.

    Args:
        language_model: The model; products are computed in its floating type.
        load_in: ``4bit`` or ``8bit``; see ``read_quantization``.

    Raises:
        InvalidSpecError, MissingExtraError: See ``check_quantization``.
    """
    check_quantization(load_in)
    head = language_model.get_output_embeddings()
    for name, layer in list(language_model.named_modules()):
        if type(layer) is nn.Linear and layer is not head and "lora_" not in name:
            language_model.set_submodule(name, packed_layer(layer, load_in, language_model.dtype))
    setattr(language_model, f"is_loaded_in_{load_in}", True)
