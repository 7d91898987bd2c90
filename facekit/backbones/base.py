"""The backbone: a causal language model with its tokenizer.

Every loader returns one; what all of them must make sure of is checked here.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError, first_line

logger = logging.getLogger(__name__)

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
_USUAL_PAD_TOKENS = ("<|finetune_right_pad_id|>", "<pad>", "<|pad|>", "[PAD]", "<|endoftext|>")


@dataclass(frozen=True)
class Backbone:
    """A language model and its tokenizer.

    Args:
        model: A causal language model, with its head.
        tokenizer: Its tokenizer, with a chat template and a pad token.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    return any((folder / name).is_file() for name in _TOKENIZER_FILES)


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer that has no pad token one from its own vocabulary: a usual name, else the end-of-text token.

    Padding is masked wherever facekit pads, so the choice changes no result.

    Raises:
        CheckpointError: The tokenizer has neither.
    """
    if tokenizer.pad_token is not None:
        return
    vocabulary = tokenizer.get_vocab()
    chosen = next((token for token in _USUAL_PAD_TOKENS if token in vocabulary), tokenizer.eos_token)
    if chosen is None:
        raise CheckpointError("the tokenizer has neither a pad nor an end-of-text token; set pad_token in its files")
    tokenizer.pad_token = chosen
    logger.info("the tokenizer has no pad token; '%s' is used", chosen)


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spec: str) -> None:
    """Raise CheckpointError where the tokenizer has ids that the model has no embedding for."""
    table: Any = model.get_input_embeddings()
    rows = table.weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise CheckpointError(
            f"backbone '{spec}': the tokenizer has ids up to {highest}, the model only {rows} embeddings; "
            "name the tokenizer that belongs to the model"
        )


def read_dtype(name: str | torch.dtype) -> torch.dtype:
    """Return the floating type of torch that a name means.

    Raises:
        InvalidSpecError: torch has no floating type of that name.
    """
    dtype = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidSpecError(f"dtype={name} is no floating type; use float32, bfloat16 or float16")
    return dtype


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device that a name means, or, without a name, a GPU where there is one and else the CPU.

    Of several GPUs it is the first, and with a launcher that of the process (``LOCAL_RANK``).

    Raises:
        ConfigurationError: torch knows no such device, or this machine has none.
    """
    chosen = read_device(device)
    if chosen is not None:
        return chosen
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def read_device(device: str | int | torch.device | None) -> torch.device | None:
    """Return the device that a name means; None stays None.

    Raises:
        ConfigurationError: torch knows no such device, this machine has none, or it holds no values (``meta``).
    """
    if device is None:
        return None
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        raise ConfigurationError(_refused_device(device, _why_not(error))) from error
    if found.type == "meta":
        raise ConfigurationError(_refused_device(device, "it holds shapes alone, no weights and no answers"))
    return found


def _refused_device(device: str | int | torch.device, why: str) -> str:
    return f"the device '{device}' cannot be used here: {why}; choose another, such as 'cpu'"


def _why_not(error: Exception) -> str:
    """Why torch makes no tensor on a device; of kinds that it was built without it speaks of its own insides."""
    said = first_line(error)
    is_unknown = isinstance(error, (NotImplementedError, ImportError)) or "INTERNAL ASSERT" in said
    return "this torch was built without it" if is_unknown else said
