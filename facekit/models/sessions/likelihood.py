"""Log-likelihoods of answer options: the prompt is read once and its keys and values are shared.

Choosing among options by their likelihood needs no parsing, and gives a score where a metric such as AUC wants one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedTokenizerBase

from facekit.compat.transformers_cache import cache_argument, cache_of
from facekit.models.control_tokens import ControlTokens


def option_log_likelihoods(
    model: nn.Module, prompt: Mapping[str, Tensor], options: Sequence[Sequence[int]]
) -> list[float]:
    """Log-probability of each option's tokens after a prompt.

    Args:
        model: A causal model of the transformers library, with or without vision.
        prompt: Its inputs for the prompt alone, batch size 1: ``input_ids`` ``(1, P)``, ``attention_mask``, pixels.
        options: Token ids of each option, at least one token each; ``K`` options.

    Returns:
        ``K`` sums of the log-probabilities of an option's tokens.
    """
    config: Any = model.config
    with torch.inference_mode():
        empty = DynamicCache(config=config.get_text_config())
        first = model(**prompt, **cache_argument(model, empty), use_cache=True)
        count, width = len(options), max(map(len, options))
        device = first.logits.device
        tokens, real = torch.zeros(count, width, dtype=torch.long), torch.zeros(count, width, dtype=torch.long)
        for row, option in enumerate(options):
            tokens[row, : len(option)] = torch.tensor(list(option))
            real[row, : len(option)] = 1
        tokens, real = tokens.to(device), real.to(device)
        logits = first.logits[:, -1:].expand(count, -1, -1)
        if width > 1:
            cache = cache_of(first)
            cache.batch_repeat_interleave(count)
            read = torch.ones(count, prompt["input_ids"].shape[1], dtype=torch.long, device=device)
            following = model(
                input_ids=tokens[:, :-1],
                attention_mask=torch.cat([read, real[:, :-1]], dim=1),
                **cache_argument(model, cache),
                use_cache=True,
            )
            logits = torch.cat([logits, following.logits], dim=1)  # (K, width, vocabulary)
        chosen = logits.float().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        sums: list[float] = (chosen * real).sum(1).tolist()
        return sums


def option_tokens(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    option: str,
    *,
    add_special_tokens: bool = False,
    control_tokens: ControlTokens | None = None,
) -> list[int]:
    """Token ids of an option as the answer to a prompt, with the token that ends an answer where there is one.

    The option is tokenised behind the prompt's last words, because some tokenizers join across the border.

    Args:
        tokenizer: The tokenizer.
        prompt: The prompt as text.
        option: The option; control tokens in it are words.
        add_special_tokens: Whether the tokenizer adds its own to the prompt.
        control_tokens: The tokenizer's, with the prompt's chat template; by default those of its own.
    """
    controls = control_tokens or ControlTokens.of(tokenizer, tokenizer.chat_template)
    option = controls.escape(option, "assistant")
    alone = controls.tokenize(prompt, add_special_tokens=add_special_tokens)["input_ids"]
    joined = controls.tokenize(prompt + option, add_special_tokens=add_special_tokens)["input_ids"]
    if joined[: len(alone)] == alone and len(joined) > len(alone):
        ids = joined[len(alone) :]
    else:
        ids = controls.tokenize(option)["input_ids"]
    return [*ids, tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else list(ids)
