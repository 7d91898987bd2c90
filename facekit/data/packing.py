"""Several questions about one image in one sequence, none of which sees another: each as if it were asked alone.

In a plain conversation a later answer may be copied from an earlier one, and a model learns to copy instead of to
look; at inference the earlier answers are not there. Here the image is written once, every question with its answer
sees the image and itself only, and its positions go on from the image. The loss is exactly that of the questions in
sequences of their own, at a fraction of the tokens. It is apart from supervision because it needs attention masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from facekit.data.records import Turn
from facekit.data.supervision import IGNORED, SupervisedTokens, encode_conversation
from facekit.errors import RecordError
from facekit.models.processing import FaceKitProcessor

SHARED = 0
"""The segment of the tokens that every question sees: all up to the last visual token."""


@dataclass(frozen=True)
class PackedTokens:
    """Questions about one image, packed.

    Args:
        input_ids: Token ids: the shared beginning, then one question with its answer after the other.
        labels: The ids of the assistant's words, ``IGNORED`` elsewhere.
        position_ids: Place of every token in the sequence that it would have alone.
        segments: ``SHARED``, or the question's number from 1.
    """

    input_ids: list[int]
    labels: list[int]
    position_ids: list[int]
    segments: list[int]


def pack_exchanges(
    processor: FaceKitProcessor,
    opening: Sequence[Turn],
    exchanges: Sequence[Sequence[Turn]],
    *,
    frames: int = 1,
    max_tokens: int | None = None,
) -> PackedTokens:
    """Pack a record's questions about one image or clip.

    Args:
        processor: The model's processor.
        opening: What stands before every question, such as a system message.
        exchanges: Each a question with its answer.
        frames: Frames of the clip; 1 for an image.
        max_tokens: Longest sequence; questions beyond it are left out.

    Raises:
        RecordError: There is no question, or not even the first fits.
        ConfigurationError: See ``facekit.data.supervision``.
    """
    alone = [encode_conversation(processor, [*opening, *exchange], frames=frames) for exchange in exchanges]
    if not alone:
        raise RecordError("a conversation has no question, so there is nothing to learn from it")
    shared = _shared_length(alone, processor.image_token_id)
    beginning = alone[0].input_ids[:shared]
    packed = PackedTokens(list(beginning), [IGNORED] * shared, list(range(shared)), [SHARED] * shared)
    for number, tokens in enumerate(alone, start=1):
        length = len(tokens.input_ids) - shared
        if max_tokens is not None and len(packed.input_ids) + length > max_tokens:
            break
        packed.input_ids.extend(tokens.input_ids[shared:])
        packed.labels.extend(tokens.labels[shared:])
        packed.position_ids.extend(range(shared, shared + length))
        packed.segments.extend([number] * length)
    if len(packed.input_ids) == shared:
        raise RecordError(f"a conversation has no answer that ends within {max_tokens} tokens; raise max_tokens")
    return packed


def segment_mask(segments: Tensor) -> Tensor:
    """Which token sees which.

    Args:
        segments: ``(B, L)``; -1 for padding.

    Returns:
        Bool ``(B, 1, L, L)``, true where a query (row) sees a key (column): itself, and what is before it in its own
        segment or in the shared beginning.
    """
    length = segments.shape[1]
    keys, queries = segments[:, None, :], segments[:, :, None]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    visible = earlier & (keys >= 0) & ((keys == SHARED) | (keys == queries))
    itself = torch.eye(length, dtype=torch.bool, device=segments.device)
    return (visible | itself)[:, None]


def _shared_length(alone: Sequence[SupervisedTokens], image_token_id: int) -> int:
    first = alone[0].input_ids
    shared = len(first) - first[::-1].index(image_token_id)
    if any(tokens.input_ids[:shared] != first[:shared] for tokens in alone):
        raise RecordError(
            "the questions of a conversation begin differently before their image, so they cannot share it"
        )
    return shared
