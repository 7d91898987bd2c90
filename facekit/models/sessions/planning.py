"""Planning batches of requests: questions about one picture share a prefix, one question about many is one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from facekit.errors import ConfigurationError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.inputs import can_continue
from facekit.models.processing import FaceKitProcessor
from facekit.models.sessions.generation import SharedBeginning, answer_whole, count_copies
from facekit.models.sessions.prompts import tokenize_prompts
from facekit.models.sessions.requests import Request, bound_answers

SHARED_FROM = 2
"""From so many questions about the same media on, what their prompts begin with is read once."""


def iterate_answers(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    requests: Sequence[Request],
    *,
    batch_size: int = 64,
    shared_from: int = SHARED_FROM,
    **generation: Any,
) -> Iterator[tuple[int, list[str]]]:
    """Answer requests in batches, greedily unless they or ``generation`` say otherwise.

    Greedy answers are those of the requests one by one, up to the rounding of batched arithmetic. Requests about the
    same media, from ``shared_from`` on, go on from one reading of their common beginning; of the others, those with the
    same prompt and limit go together, which needs no padding.

    Args:
        model: The model; it is in evaluation mode while it answers.
        processor: Its processor.
        requests: The requests.
        batch_size: Requests at a time.
        shared_from: Requests about the same media from which on they share their beginning.
        **generation: Passed to ``model.generate``.

    Yields:
        Index of a request and its answer, as soon as it is known and in any order. The list has one entry, or
        ``num_return_sequences``.

    Raises:
        ConfigurationError: ``batch_size`` is below 1, or see ``generate_batch``.
    """
    if batch_size < 1:
        raise ConfigurationError(f"batch_size={batch_size} answers nothing; give at least 1")
    subjects: dict[int, list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        subjects[id(request.media)].append(index)
    columns: dict[tuple[str, tuple[int, ...], int], list[int]] = defaultdict(list)
    for members in subjects.values():
        if 1 < len(members) >= shared_from:
            yield from _answer_subject(model, processor, requests, members, batch_size, generation)
            continue
        for index in members:
            request = requests[index]
            columns[request.prompt, request.media.frames, request.max_new_tokens].append(index)
    for column in sorted(columns.values(), key=lambda members: len(requests[members[0]].prompt)):
        first = requests[column[0]]
        row = tokenize_prompts(processor, model.config, [first.prompt], [first.media.frames])[0]
        for start in range(0, len(column), batch_size):
            chunk = column[start : start + batch_size]
            together = bound_answers([requests[index] for index in chunk], [row] * len(chunk), model.config)
            texts = answer_whole(model, processor, together, [row] * len(chunk), generation)
            yield from zip(chunk, texts, strict=True)


def _answer_subject(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    requests: Sequence[Request],
    members: Sequence[int],
    batch_size: int,
    options: Mapping[str, Any],
) -> Iterator[tuple[int, list[str]]]:
    """Answer requests about the same media."""
    asked = [requests[index] for index in members]
    media = asked[0].media
    prompts = [request.prompt for request in asked]
    rows = tokenize_prompts(processor, model.config, prompts, [media.frames] * len(prompts))
    asked = bound_answers(asked, rows, model.config)
    limits = [request.max_new_tokens for request in asked]
    shared = shared_length(rows, processor.image_token_id)
    has_copies, beginning = count_copies(options) > 1, None
    may_share = not has_copies and options.get("use_cache") is not False and can_continue(model)
    if shared > 0 and may_share:
        beginning = SharedBeginning.read(model, rows[0][None, :shared], [media])
        lengths = [len(row) - shared for row in rows]
        batches = _plan_tails(lengths, limits, shared, model.config, batch_size)
    else:
        order = sorted(range(len(rows)), key=lambda row: limits[row]) if has_copies else range(len(rows))
        batches = _chunks(order, limits if has_copies else [0] * len(rows), batch_size)
    for batch in batches:
        together = [asked[row] for row in batch]
        if beginning is None:
            texts = answer_whole(model, processor, together, [rows[row] for row in batch], options)
        else:
            tails, subjects = [rows[row][shared:] for row in batch], [0] * len(batch)
            texts = beginning.answer(model, processor, together, tails, subjects, options)
        yield from zip((members[row] for row in batch), texts, strict=True)


def shared_length(rows: Sequence[Tensor], image_token_id: int) -> int:
    """Tokens that all rows begin with; 0 where these do not hold all visual tokens. One of each row's is left."""
    shortest = min(len(row) for row in rows)
    first = rows[0][:shortest]
    same = torch.stack([row[:shortest] == first for row in rows]).all(dim=0)
    shared = min(int(same.int().cumprod(dim=0).sum()), shortest - 1)
    return 0 if any((row[shared:] == image_token_id).any() for row in rows) else shared


def _plan_tails(
    lengths: Sequence[int], limits: Sequence[int], shared: int, config: PreTrainedConfig, batch_size: int
) -> list[list[int]]:
    """Put questions of like length and the same limit together, so that little is padded and no row waits for others.

    A sliding window counts padding between the image and a question as tokens. Where a window is short enough for that
    to matter, only questions of the same length go together, which needs no padding.
    """
    may_pad = fits_window(config, shared + max(lengths) + max(limits))
    order = sorted(range(len(lengths)), key=lambda row: (limits[row], lengths[row], row))
    alike = [(limits[row], 0 if may_pad else lengths[row]) for row in range(len(lengths))]
    return _chunks(order, alike, batch_size)


def fits_window(config: PreTrainedConfig, longest: int) -> bool:
    """Whether rows of so many tokens, padding among them, are within the language model's sliding window."""
    window = getattr(config.get_text_config(), "sliding_window", None)
    return window is None or longest <= window


def _chunks(order: Sequence[int], alike: Sequence[Any], batch_size: int) -> list[list[int]]:
    """Cut a sequence of rows into batches whose rows are alike."""
    batches: list[list[int]] = []
    for row in order:
        last = batches[-1] if batches else []
        if 0 < len(last) < batch_size and alike[last[-1]] == alike[row]:
            last.append(row)
        else:
            batches.append([row])
    return batches
