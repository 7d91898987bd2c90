"""Many questions about one image, answered from one copy of it: the prompts' common beginning is read once.

With 256 to 2,056 visual tokens before a question of twenty, nearly all of the reading is the same for every question.
Here the common beginning goes through the encoder and the language model once; its keys and values are then copied
for a batch of questions, each of which reads only what is its own and is answered by ``generate`` as ever.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedConfig

from facekit.errors import ConfigurationError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor


@dataclass(frozen=True)
class _Prefix:
    """What all prompts begin with: its tokens ``(P,)``, and the keys and values of those, of batch size 1."""

    ids: Tensor
    cache: Cache


def generate_answers(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    visual: Mapping[str, Tensor],
    prompts: Sequence[str],
    *,
    frames: int = 1,
    max_new_tokens: int = 64,
    batch_size: int = 64,
    **generation: Any,
) -> list[str]:
    """Answer prompts about one image or clip, each by itself, greedily unless ``generation`` says otherwise.

    Greedy answers are those of the prompts one by one, up to the rounding of batched arithmetic.

    Args:
        model: The model; it is in evaluation mode while it answers.
        processor: Its processor.
        visual: What the model's ``get_image_features`` takes for one image or clip: ``pixel_values``
            ``(1, T, 3, H, W)`` with or without ``landmarks`` ``(1, T, 68, 2)``; or ``image_features`` ``(1, n, D)``,
            where it was called already.
        prompts: Texts with one image token each, as ``processor.apply_chat_template`` writes them.
        frames: Frames of the clip; 1 for an image.
        max_new_tokens: Longest answer in tokens.
        batch_size: Prompts that are answered at a time, each with a copy of the common beginning's keys and values.
        **generation: Passed to ``model.generate``.

    Returns:
        An answer for each prompt, in order.

    Raises:
        ConfigurationError: There is no prompt, ``batch_size`` is below 1, or ``visual`` is of more than one image.
    """
    if not prompts or batch_size < 1:
        raise ConfigurationError(f"{len(prompts)} prompts cannot be answered {batch_size} at a time; give at least one")
    rows = [torch.tensor(ids) for ids in processor.tokenize(list(prompts), frames=frames)["input_ids"]]
    options = {"max_new_tokens": max_new_tokens, "do_sample": False, **generation}
    with torch.inference_mode(), evaluation_mode(model):
        features = _encode(model, visual)
        shared = _shared_length(rows, processor.image_token_id)
        has_copies = max(options.get(name) or 1 for name in ("num_beams", "num_return_sequences")) > 1
        if len(rows) == 1 or shared == 0 or has_copies or options.get("use_cache") is False:
            return _answer_whole(model, processor, rows, features, batch_size, options)
        prefix = _read_prefix(model, rows[0][:shared], features)
        answers: dict[int, str] = {}
        for places in _plan_batches([len(row) - shared for row in rows], shared, model.config, batch_size, options):
            tails = [rows[place][shared:] for place in places]
            answers.update(zip(places, _answer_tails(model, processor, prefix, tails, options), strict=True))
    return [answers[place] for place in range(len(rows))]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout and the like off, and back on afterwards where they were on."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _encode(model: FaceKitForConditionalGeneration, visual: Mapping[str, Tensor]) -> Tensor:
    if "image_features" in visual:
        features = visual["image_features"].to(model.device)
    else:
        features = model.get_image_features(**{name: value.to(model.device) for name, value in visual.items()})
    if len(features) != 1:
        raise ConfigurationError(f"questions are answered about one image or clip at a time, not {len(features)}")
    return features


def _shared_length(rows: Sequence[Tensor], image_token_id: int) -> int:
    """Tokens that all rows begin with; 0 where these do not hold all visual tokens. One of each row's is left."""
    shortest = min(len(row) for row in rows)
    first = rows[0][:shortest]
    same = torch.stack([row[:shortest] == first for row in rows]).all(dim=0)
    shared = min(int(same.int().cumprod(dim=0).sum()), shortest - 1)
    return 0 if any((row[shared:] == image_token_id).any() for row in rows) else shared


def _read_prefix(model: FaceKitForConditionalGeneration, ids: Tensor, features: Tensor) -> _Prefix:
    ids = ids.to(model.device)
    cache = DynamicCache(config=model.config.get_text_config())
    model(
        input_ids=ids[None],
        image_features=features,
        attention_mask=torch.ones_like(ids)[None],
        cache=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return _Prefix(ids, cache)


def _plan_batches(
    lengths: Sequence[int], shared: int, config: PreTrainedConfig, batch_size: int, options: Mapping[str, Any]
) -> list[list[int]]:
    """Put questions of like length together, so that little is padded.

    A sliding window counts padding between the image and a question as tokens. Where a window is short enough for that
    to matter, only questions of the same length go together, which needs no padding.
    """
    longest = shared + max(lengths) + int(options["max_new_tokens"])
    window = getattr(config.get_text_config(), "sliding_window", None)
    may_pad = window is None or longest <= window
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: (lengths[place], place)):
        last = batches[-1] if batches else []
        fits = 0 < len(last) < batch_size and (may_pad or lengths[last[-1]] == lengths[place])
        if fits:
            last.append(place)
        else:
            batches.append([place])
    return batches


def _answer_tails(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    prefix: _Prefix,
    tails: Sequence[Tensor],
    options: Mapping[str, Any],
) -> list[str]:
    """Continue the common beginning with each tail, padded on its left, and generate."""
    count, width = len(tails), max(len(tail) for tail in tails)
    pad = processor.tokenizer.pad_token_id or 0
    padded = torch.stack([torch.nn.functional.pad(tail, (width - len(tail), 0), value=pad) for tail in tails])
    real = torch.stack([torch.arange(width) >= width - len(tail) for tail in tails]).long()
    beginning = prefix.ids.expand(count, -1)
    cache = copy.deepcopy(prefix.cache)
    cache.batch_repeat_interleave(count)
    input_ids = torch.cat([beginning, padded.to(model.device)], dim=1)
    tokens = model.generate(
        input_ids=input_ids,
        attention_mask=torch.cat([torch.ones_like(beginning), real.to(model.device)], dim=1),
        cache=cache,
        **options,
    )
    return _decode(processor, tokens[:, input_ids.shape[1] :])


def _answer_whole(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    rows: Sequence[Tensor],
    features: Tensor,
    batch_size: int,
    options: Mapping[str, Any],
) -> list[str]:
    """Read every prompt from its beginning: for a single one, and where prompts begin differently."""
    answers: list[str] = []
    for start in range(0, len(rows), batch_size):
        chunk = [{"input_ids": row.tolist()} for row in rows[start : start + batch_size]]
        text = processor.tokenizer.pad(chunk, padding_side="left", return_tensors="pt").to(model.device)
        tokens = model.generate(
            input_ids=text["input_ids"],
            attention_mask=text["attention_mask"],
            image_features=features.expand(len(chunk), -1, -1),
            **options,
        )
        answers += _decode(processor, tokens[:, text["input_ids"].shape[1] :])
    return answers


def _decode(processor: FaceKitProcessor, tokens: Tensor) -> list[str]:
    return [answer.strip() for answer in processor.batch_decode(tokens, skip_special_tokens=True)]
