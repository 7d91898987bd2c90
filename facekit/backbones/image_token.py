"""The image token: found in the tokenizer or added to it, without replacing another token."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from facekit.errors import ConfigurationError

IMAGE_TOKENS = ("<image>", "<face_image>", "<|facekit_image|>")


def add_image_token(tokenizer: PreTrainedTokenizerBase, language_model: PreTrainedModel) -> str:
    """Make sure that the tokenizer has a token for images, and the model a row for it.

    A special token of one of the names in ``IMAGE_TOKENS`` is used as it is. Otherwise one is added behind all others,
    under the first name that is free. Many models have more rows than their tokenizer has tokens; the vocabulary is
    only resized where they do not. A new row is the mean of the others. It is never read, because visual tokens replace
    it; it exists so that whatever looks ids up, such as a repetition penalty, finds them in range.

    Args:
        tokenizer: Changed in place.
        language_model: Changed in place where it has no row for the token.

    Returns:
        The token: ``<image>``, or another name where that is an ordinary word of the vocabulary.

    Raises:
        ConfigurationError: The vocabulary has all the names, or its ids have gaps, so that a new token would get the
            id of an old one.
    """
    vocabulary = tokenizer.get_vocab()
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    token = next((name for name in IMAGE_TOKENS if name in special), None)
    if token is None:
        token = _add_new_token(tokenizer, vocabulary)
    index: Any = tokenizer.convert_tokens_to_ids(token)
    _ensure_row(language_model, index)
    return token


def _add_new_token(tokenizer: PreTrainedTokenizerBase, vocabulary: dict[str, int]) -> str:
    token = next((name for name in IMAGE_TOKENS if name not in vocabulary), None)
    if token is None:
        raise ConfigurationError(
            f"the tokenizer has all of {', '.join(IMAGE_TOKENS)}, so none is free to stand for images; "
            "name another tokenizer"
        )
    index = _next_index(tokenizer, vocabulary)
    owner = next((name for name, taken in vocabulary.items() if taken == index), None)
    if owner is not None:
        raise ConfigurationError(
            f"the ids of the tokenizer have gaps, so that a new token would get the id {index} of '{owner}'; add "
            f"'{IMAGE_TOKENS[0]}' to the tokenizer's files as a special token"
        )
    tokenizer.add_tokens(AddedToken(token, normalized=False, special=True), special_tokens=True)
    return token


def _next_index(tokenizer: PreTrainedTokenizerBase, vocabulary: dict[str, int]) -> int:
    """The id that a new token will get: tokenizers count their vocabulary, and do not look whether the id is free."""
    if not tokenizer.is_fast:
        return len(vocabulary)
    return max(tokenizer.vocab_size, *(index + 1 for index in tokenizer.added_tokens_decoder), 0)


def _ensure_row(language_model: PreTrainedModel, index: int) -> None:
    table: Any = language_model.get_input_embeddings()
    rows = table.weight.shape[0]
    if index < rows:
        return
    language_model.resize_token_embeddings(index + 1, mean_resizing=False)
    with torch.no_grad():
        for module in (language_model.get_input_embeddings(), language_model.get_output_embeddings()):
            embeddings: Any = module
            embeddings.weight[rows:] = embeddings.weight[:rows].mean(dim=0)
