"""Log-likelihoods of answer options: what prompts begin with is read once and its keys and values are shared.

Choosing among options by their likelihood needs no parsing, and gives a score where a metric such as AUC wants one.
The questions about a picture share its reading, too. Where a model cannot go on from a beginning exactly, each option
is read with its whole prompt.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedTokenizerBase

from facekit.compat.transformers_cache import cache_argument, cache_of
from facekit.models.control_tokens import ControlTokens
from facekit.models.native.inputs import can_continue, extend_inputs, media_inputs, text_inputs

ROWS_AT_A_TIME = 32


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
    return question_log_likelihoods(model, [prompt], [options])[0]


def question_log_likelihoods(
    model: nn.Module, prompts: Sequence[Mapping[str, Tensor]], options: Sequence[Sequence[Sequence[int]]]
) -> list[list[float]]:
    """Log-probability of the options of several questions about the same pictures.

    Args:
        model: See ``option_log_likelihoods``.
        prompts: Its inputs for each prompt alone; the pictures of all are those of the first.
        options: Of each question, the token ids of its options.

    Returns:
        For each question a sum for each option.
    """
    rows: list[Tensor] = []
    starts: list[int] = []
    for prompt, choices in zip(prompts, options, strict=True):
        ids = prompt["input_ids"][0]
        for choice in choices:
            rows.append(torch.cat([ids, torch.tensor(list(choice)).to(ids)]))
            starts.append(len(ids))
    shared = _shared_length(model, rows, min(starts)) if can_continue(model) else 0
    with torch.inference_mode():
        if shared:
            sums = _score_from_beginning(model, rows, starts, shared, media_inputs(prompts[0]))
        else:
            pairs = [(prompt, choice) for prompt, choices in zip(prompts, options, strict=True) for choice in choices]
            sums = [_score_whole(model, prompt, torch.tensor(list(choice))) for prompt, choice in pairs]
    scored = iter(sums)
    return [[next(scored) for _ in choices] for choices in options]


def _shared_length(model: nn.Module, rows: Sequence[Tensor], first_start: int) -> int:
    """Tokens that all rows begin with, before the last one of the shortest prompt; 0 where pictures stand behind."""
    config: Any = model.config
    shortest = min(map(len, rows))
    same = torch.stack([row[:shortest] == rows[0][:shortest] for row in rows]).all(dim=0)
    shared = min(int(same.int().cumprod(dim=0).sum()), first_start - 1)
    image = getattr(config, "image_token_id", None)
    return 0 if image is not None and any((row[shared:] == image).any() for row in rows) else shared


def _score_from_beginning(
    model: nn.Module, rows: Sequence[Tensor], starts: Sequence[int], shared: int, media: Mapping[str, Any]
) -> list[float]:
    config: Any = model.config
    beginning = rows[0][:shared][None]
    empty = DynamicCache(config=config.get_text_config())
    reading = text_inputs(model, beginning, torch.ones_like(beginning), media)
    first = model(**reading, **media, **cache_argument(model, empty), use_cache=True)
    takes_kept = "logits_to_keep" in inspect.signature(model.forward).parameters
    sums: list[float] = []
    for begin in range(0, len(rows), ROWS_AT_A_TIME):
        chunk = rows[begin : begin + ROWS_AT_A_TIME]
        ids = pad_sequence(list(chunk), batch_first=True)
        lengths = torch.tensor([len(row) for row in chunk], device=ids.device)
        mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        cache = copy.deepcopy(cache_of(first))
        cache.batch_repeat_interleave(len(chunk))
        grids = media.get("image_grid_thw")
        repeated = {} if grids is None else {"image_grid_thw": grids.repeat(len(chunk), 1)}
        following = text_inputs(model, ids, mask, repeated, read=shared)
        skipped = min(starts[begin : begin + len(chunk)]) - 1  # a large vocabulary's logits fill the memory
        kept = {"logits_to_keep": ids.shape[1] - skipped} if takes_kept else {}
        logits = model(**following, **cache_argument(model, cache), use_cache=True, **kept).logits
        skipped = ids.shape[1] - logits.shape[1]
        for row, start, scores in zip(chunk, starts[begin:], logits, strict=False):
            sums.append(_sum_chosen(scores[start - 1 - skipped : len(row) - 1 - skipped], row[start:]))
    return sums


def _score_whole(model: nn.Module, prompt: Mapping[str, Tensor], option: Tensor) -> float:
    logits = model(**extend_inputs(prompt, option), use_cache=False).logits[0]
    return _sum_chosen(logits[-len(option) - 1 : -1], option.to(logits.device))


def _sum_chosen(logits: Tensor, tokens: Tensor) -> float:
    """Log-probability of tokens ``(n,)`` by the logits ``(n, V)`` before each."""
    return float(logits.float().log_softmax(-1).gather(-1, tokens[:, None]).sum())


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
