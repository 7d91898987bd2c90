"""GGUF files across versions of transformers: unpacked weights, special tokens, vocabularies."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import PreTrainedTokenizerBase

SWAPS_SPECIAL_TOKENS = Version(transformers.__version__) < Version("5.18")
"""Whether this transformers gives the tokenizer of a Llama file its beginning-of-text token as the end.

Seen: it does in 5.17, not in 5.18 and 5.24.
Why: see ``set_special_tokens``.
Until: the oldest supported transformers is 5.18.
"""

READS_VOCABULARIES = Version(transformers.__version__) >= Version("5.18")
"""Whether this transformers reads a file's vocabulary as llama.cpp does.

Seen: 5.17 puts a space before the text of every SentencePiece vocabulary, and gives a Qwen2 vocabulary tokens that the
file does not name; 5.19 and 5.24 do neither, their reader was written anew.
Why: what is written is read back before it counts, and 5.17 would refuse files that are right.
Until: the oldest supported transformers is 5.18.
"""


def unpacking() -> dict[str, Any]:
    """Arguments of ``from_pretrained`` that unpack the weights of every architecture.

    Seen: transformers 5.17 and 5.24.
    Why: newer ones keep some architectures in their packed form unless a setting unpacks them; older ones have none.
    Until: the oldest supported transformers has ``GgufConfig``.
    """
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def scale_as_llama3(model: Any, factors: Sequence[float]) -> bool:
    """Scale a Llama model's rotary positions as Llama 3 does, where factors of its frequencies say so.

    Args:
        model: Changed in place.
        factors: By which the file divides its frequencies; ones are no scaling.

    Returns:
        Whether the model has these factors now.

    Seen: transformers 5.17 and 5.24.
    Why: llama.cpp writes the scaling as a tensor of factors, ``rope_freqs``, which transformers passes over.
    Until: transformers reads it.
    """
    wanted = torch.tensor(factors)
    if bool((wanted == 1).all()):
        return True
    config = copy.deepcopy(model.config)
    config.rope_parameters = {
        "rope_type": "llama3",
        "rope_theta": config.rope_parameters["rope_theta"],
        "factor": float(wanted.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    rotary = type(model.model.rotary_emb)(config=config)
    given = model.model.rotary_emb.inv_freq / rotary.inv_freq
    if given.shape != wanted.shape or not torch.allclose(given, wanted, rtol=1e-3):
        return False
    model.config.rope_parameters, model.model.rotary_emb = config.rope_parameters, rotary
    return True


def set_special_tokens(tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    """Give a tokenizer the beginning- and end-of-text tokens that its GGUF file names.

    Seen: wrong in transformers 5.17, right in 5.18 and 5.24, which are left alone.
    Why: 5.17 takes the first for both where the file's tokenizer is Llama's, so that no answer would ever end.
    Until: the oldest supported transformers is 5.18.
    """
    if not SWAPS_SPECIAL_TOKENS:
        return
    import gguf

    fields = gguf.GGUFReader(file).fields
    for name in ("bos", "eos"):
        field = fields.get(f"tokenizer.ggml.{name}_token_id")
        if field is not None:
            token = tokenizer.convert_ids_to_tokens(int(field.contents()))
            setattr(tokenizer, f"{name}_token", token)
