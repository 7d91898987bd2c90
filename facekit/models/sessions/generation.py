"""Batched generation by one call of ``generate``, from whole prompts or from a shared prefix.

With 256 to 2,056 visual tokens before a question of twenty, nearly all of the reading is the same for every question
about a picture. ``SharedBeginning`` reads it once; its keys and values are then copied for a batch of questions, each
of which reads only what is its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Cache, DynamicCache, LogitsProcessorList, StoppingCriteriaList

from facekit.errors import ConfigurationError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions.control import LastLogits, RowConstraints, RowControl, RowSampling
from facekit.models.sessions.encoding import EncodedMedia, answering_mode, join_features
from facekit.models.sessions.prompts import tokenize_prompts
from facekit.models.sessions.requests import Request, bound_answers


def generate_batch(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    requests: Sequence[Request],
    **generation: Any,
) -> list[str]:
    """Answer requests in one batch, whatever their media, prompts and limits are; every prompt is read whole.

    Args:
        model: The model; it is in evaluation mode while it answers.
        processor: Its processor.
        requests: The rows of the batch.
        **generation: Passed to ``model.generate`` for all rows.

    Returns:
        An answer for each request, in order.

    Raises:
        ConfigurationError: There is no request, a prompt does not fit its media or the context, or rows that differ in
            more than media and prompt are to be answered with beams or several times.
    """
    if not requests:
        raise ConfigurationError("there is no request to answer")
    prompts, frames = [each.prompt for each in requests], [each.media.frames for each in requests]
    rows = tokenize_prompts(processor, model.config, prompts, frames)
    bounded = bound_answers(requests, rows, model.config)
    return [texts[0] for texts in answer_whole(model, processor, bounded, rows, generation)]


def answer_whole(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    requests: Sequence[Request],
    rows: Sequence[Tensor],
    options: Mapping[str, Any],
) -> list[list[str]]:
    """Read prompts ``(L,)`` from their beginning, padded on the left, and answer them; see ``generate_batch``."""
    input_ids, mask = _pad_left(rows, processor)
    inputs: dict[str, Any] = {"input_ids": input_ids.to(model.device), "attention_mask": mask.to(model.device)}
    with answering_mode(model):
        inputs |= join_features([request.media for request in requests])
        return _generate(model, processor, inputs, requests, options)


@dataclass(frozen=True)
class SharedBeginning:
    """The tokens ``(S, P)`` that prompts about each of S subjects begin with, and their keys and values."""

    ids: Tensor
    cache: Cache

    @classmethod
    def read(
        cls, model: FaceKitForConditionalGeneration, ids: Tensor, media: Sequence[EncodedMedia]
    ) -> SharedBeginning:
        """Read beginnings ``(S, P)`` that hold all visual tokens of their media."""
        ids = ids.to(model.device)
        cache = DynamicCache(config=model.config.get_text_config())
        with answering_mode(model):
            model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                cache=cache,
                use_cache=True,
                logits_to_keep=1,
                **join_features(media),
            )
        return cls(ids, cache)

    def answer(
        self,
        model: FaceKitForConditionalGeneration,
        processor: FaceKitProcessor,
        requests: Sequence[Request],
        tails: Sequence[Tensor],
        subjects: Sequence[int],
        options: Mapping[str, Any],
    ) -> list[list[str]]:
        """Go on with the rest ``(L,)`` of each prompt, padded on its left, and answer them.

        ``subjects`` has the index of each prompt's beginning.
        """
        padded, real = _pad_left(tails, processor)
        owners = torch.tensor(subjects, device=self.ids.device)
        beginning = self.ids[owners]
        with answering_mode(model):
            cache = copy.deepcopy(self.cache)
            cache.batch_select_indices(owners)
            inputs = {
                "input_ids": torch.cat([beginning, padded.to(model.device)], dim=1),
                "attention_mask": torch.cat([torch.ones_like(beginning), real.to(model.device)], dim=1),
                "cache": cache,
            }
            return _generate(model, processor, inputs, requests, options)


def count_copies(options: Mapping[str, Any]) -> int:
    """How many rows ``generate`` makes of each prompt, for beams or several answers."""
    return max(options.get(name) or 1 for name in ("num_beams", "num_return_sequences"))


def _generate(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    inputs: Mapping[str, Any],
    requests: Sequence[Request],
    options: Mapping[str, Any],
) -> list[list[str]]:
    width = inputs["input_ids"].shape[1]
    logits = LastLogits() if any(request.on_token for request in requests) else None
    control = _control(model, processor, requests, width, options, logits)
    settings: dict[str, Any] = {
        "max_new_tokens": max(request.max_new_tokens for request in requests),
        "do_sample": False,
        "num_beams": 1,  # a checkpoint's generation_config.json may ask for more
        "num_return_sequences": 1,
        **options,
    }
    if control is not None:
        settings["stopping_criteria"] = StoppingCriteriaList([*settings.get("stopping_criteria", ()), control])
    processors: list[Any] = []
    if control is not None and any(request.constraint is not None for request in requests):
        processors.append(RowConstraints(requests, control))
    if any(request.sampling is not None for request in requests):
        processors.append(RowSampling([request.sampling for request in requests]))
    if processors:
        settings["logits_processor"] = LogitsProcessorList([*settings.get("logits_processor", ()), *processors])
    with nullcontext() if logits is None else logits.watching(model):
        tokens = model.generate(**inputs, **settings)[:, width:]
    copies = len(tokens) // len(requests)
    answers = [tokens[row * copies : (row + 1) * copies] for row in range(len(requests))]
    if control is not None:
        answers = [answer[:, :length] for answer, length in zip(answers, control.lengths, strict=True)]
    texts = [
        [text.strip() for text in processor.tokenizer.batch_decode(answer, skip_special_tokens=True)]
        for answer in answers
    ]
    if control is not None:
        control.finish([each[0] for each in texts])
    return texts


def _control(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    requests: Sequence[Request],
    width: int,
    options: Mapping[str, Any],
    logits: LastLogits | None,
) -> RowControl | None:
    """What ends and streams rows one by one; None where all have the same limit and nobody listens."""
    has_listeners = any(request.needs_control for request in requests)
    differ = has_listeners or len({request.max_new_tokens for request in requests}) > 1
    is_sampled = any(request.sampling is not None for request in requests)
    if (differ or is_sampled) and count_copies(options) > 1:
        raise ConfigurationError(
            "beams and several answers to a question need rows that are alike; leave on_text, on_token, should_stop, "
            "constraint, sampling and different limits out"
        )
    if is_sampled and options.get("do_sample"):
        raise ConfigurationError("rows have their own sampling; leave do_sample out")
    if not differ:
        return None
    ends = options.get("eos_token_id", model.generation_config.eos_token_id)
    listed = [] if ends is None else ends if isinstance(ends, (list, tuple)) else [ends]

    def decode(ids: list[int]) -> str:
        return str(processor.tokenizer.decode(ids, skip_special_tokens=True))

    return RowControl(requests, width, listed, decode, logits)


def _pad_left(rows: Sequence[Tensor], processor: FaceKitProcessor) -> tuple[Tensor, Tensor]:
    """Rows ``(B, L)`` with padding before them, and their mask."""
    width, pad = max(len(row) for row in rows), processor.tokenizer.pad_token_id or 0
    padded = torch.stack([F.pad(row, (width - len(row), 0), value=pad) for row in rows])
    mask = torch.stack([torch.arange(width) >= width - len(row) for row in rows]).long()
    return padded, mask
