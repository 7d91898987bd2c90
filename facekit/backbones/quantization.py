"""Loading a language model in 4 or 8 bits through bitsandbytes.

It is apart because it needs an extra, and what can go wrong is the machine's affair rather than the checkpoint's.
"""

from __future__ import annotations

import importlib.util

import torch
from transformers import BitsAndBytesConfig

from facekit.errors import InvalidSpecError, MissingExtraError

WIDTHS = ("4bit", "8bit")
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
    if load_in not in WIDTHS:
        raise InvalidSpecError(f"load_in={load_in} is neither 4bit nor 8bit")
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"load_in={load_in} needs {', '.join(missing)}; install it with: pip install 'facekit-mllm[quantization]'"
        )
    if load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if dtype is None else dtype,
    )
