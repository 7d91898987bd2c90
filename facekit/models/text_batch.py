"""Several texts as one batch of token ids, each as it would be alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

from facekit.models.control_tokens import ESCAPE, ControlTokens

_OF_PADDING = ("padding", "padding_side", "pad_to_multiple_of", "return_tensors")
_BESIDES = "offset_mapping"


def tokenize_batch(
    tokenizer: PreTrainedTokenizerBase,
    control_tokens: ControlTokens,
    texts: Sequence[str],
    add_special_tokens: Sequence[bool],
    **options: Any,
) -> BatchEncoding:
    """Tokenize texts, some of which begin with their special tokens already or have escaped control tokens.

    Args:
        tokenizer: The tokenizer.
        control_tokens: Its control tokens.
        texts: The texts.
        add_special_tokens: Of each, whether the tokenizer adds its own.
        **options: Passed to the tokenizer.
    """
    if len(set(add_special_tokens)) == 1 and not any(ESCAPE in text for text in texts):
        encoding: BatchEncoding = tokenizer(list(texts), add_special_tokens=add_special_tokens[0], **options)
        return encoding
    padding = {name: options.pop(name) for name in _OF_PADDING if name in options}
    if padding.get("padding") == "max_length":
        padding["max_length"] = options.get("max_length")
    rows = [
        control_tokens.tokenize(text, add_special_tokens=adds, **options)
        for text, adds in zip(texts, add_special_tokens, strict=True)
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    besides = columns.pop(_BESIDES, None)
    padded = tokenizer.pad(columns, **{"padding": False, **padding})
    if besides is not None:
        left = (padding.get("padding_side") or tokenizer.padding_side) == "left"
        for offsets, ids in zip(besides, padded["input_ids"], strict=True):
            missing = [(0, 0)] * (len(ids) - len(offsets))
            offsets[:] = [*missing, *offsets] if left else [*offsets, *missing]
        padded[_BESIDES] = besides
    return padded
