"""What a backbone is: a causal language model with the tokenizer that it was trained with.

The loaders stand apart, one file each; here is only what all of them return and must make sure of.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from facekit.errors import CheckpointError, InvalidSpecError

logger = logging.getLogger(__name__)

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


def read_integer(name: str, text: str | int) -> int:
    """Read a positive integer option of a backbone's spec.

    Raises:
        InvalidSpecError: The text is not one.
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise InvalidSpecError(f"backbone option {name}={text} is not a positive integer")
    return value
