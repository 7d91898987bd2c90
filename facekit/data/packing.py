"""Sequence packing: several questions about one image, and several images, isolated by attention.

In a plain conversation a later answer may be copied from an earlier one, and a model learns to copy instead of to
look; at inference the earlier answers are not there. Here the image is written once, every question with its answer
sees the image and itself only, and its positions go on from the image. The loss is exactly that of the questions in
sequences of their own, at a fraction of the tokens. A row may hold several such documents, which do not see each
other. Here is what is packed; what sees what is said by ``facekit.data.attention``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from facekit.data.records import Turn
from facekit.data.supervision import IGNORED, SupervisedTokens, encode_conversation
from facekit.errors import RecordError
from facekit.models.processing import FaceKitProcessor

SHARED = 0
"""The segment of the tokens that every question of a document sees: all up to the last visual token, if any."""

PADDING = -1
"""The segment of what fills a row up."""

DOCUMENT = 1 << 16
"""The segments of a row's second document are counted from here, those of its third from twice that."""


@dataclass(frozen=True)
class PackedTokens:
    """Questions about one image, packed.

    Args:
        input_ids: Token ids: the shared beginning, then one question with its answer after the other.
        labels: The ids of the assistant's words, ``IGNORED`` elsewhere.
        position_ids: Position of every token in the sequence that the question would be alone.
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
    frames: int | Sequence[int] = 1,
    max_tokens: int | None = None,
) -> PackedTokens:
    """Pack a record's questions about the same media, which stand before each of them.

    Args:
        processor: The model's processor.
        opening: What stands before every question, such as a system message.
        exchanges: Each a question with its answer.
        frames: Frames of the clip, 1 for an image; of each where there are several, and none for text alone.
        max_tokens: Longest sequence; questions beyond it are left out.

    Raises:
        RecordError: There is no question, or not even the first fits.
        ConfigurationError: See ``facekit.data.supervision``.
    """
    alone = [encode_conversation(processor, [*opening, *exchange], frames=frames) for exchange in exchanges]
    if not alone:
        raise RecordError("a conversation has no question, so there is nothing to learn from it")
    return pack_sequences(alone, shared_length(alone, processor.image_token_id), max_tokens=max_tokens)


def pack_sequences(alone: Sequence[SupervisedTokens], shared: int, *, max_tokens: int | None = None) -> PackedTokens:
    """Pack sequences whose first ``shared`` tokens are the same after one copy of those.

    Args:
        alone: The sequences as they would stand alone; none of the shared tokens has a label.
        shared: Number of shared tokens.
        max_tokens: Longest packed sequence; those beyond it are left out.

    Raises:
        RecordError: Not even the first fits.
    """
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


class Packable(Protocol):
    """What can stand in a row: an example of a data set."""

    @property
    def input_ids(self) -> Tensor: ...  # noqa: D102
    @property
    def labels(self) -> Tensor: ...  # noqa: D102
    @property
    def position_ids(self) -> Tensor | None: ...  # noqa: D102
    @property
    def segments(self) -> Tensor | None: ...  # noqa: D102


@dataclass(frozen=True)
class PackedRow:
    """Documents one after the other in one row.

    Args:
        members: Which of the given examples they are, in the order of their tokens.
        input_ids: ``(L,)``.
        labels: ``(L,)``.
        position_ids: ``(L,)``, from 0 for each document.
        segments: ``(L,)``; document d's are ``DOCUMENT * d + SHARED`` and ``DOCUMENT * d`` plus question numbers.
    """

    members: tuple[int, ...]
    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    segments: Tensor


def pack_rows(examples: Sequence[Packable], row_tokens: int | None = None) -> list[PackedRow]:
    """Put examples into rows, each seeing itself only.

    Args:
        examples: An example without segments is one document that is shared throughout: a plain causal sequence.
        row_tokens: Several examples go into a row while they stay within it; None for one example a row.
    """
    lengths = [len(example.input_ids) for example in examples]
    plan = [[index] for index in range(len(lengths))] if row_tokens is None else plan_rows(lengths, row_tokens)
    return [_join([examples[index] for index in members], members) for members in plan]


def plan_rows(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put lengths into as few rows as first-fit decreasing finds.

    Args:
        lengths: The lengths.
        capacity: Longest row; a length beyond it gets a row of its own.

    Returns:
        Indices into ``lengths``, row by row; every index occurs once.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        row = next((number for number, left in enumerate(room) if lengths[index] <= left), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(capacity)
        rows[row].append(index)
        room[row] -= lengths[index]
    return [sorted(row) for row in rows]


def _join(documents: Sequence[Packable], members: Sequence[int]) -> PackedRow:
    positions = [
        torch.arange(len(each.input_ids)) if each.position_ids is None else each.position_ids for each in documents
    ]
    segments = [
        torch.full_like(each.input_ids, SHARED) if each.segments is None else each.segments for each in documents
    ]
    return PackedRow(
        tuple(members),
        torch.cat([each.input_ids for each in documents]),
        torch.cat([each.labels for each in documents]),
        torch.cat(positions),
        torch.cat([numbers + DOCUMENT * index for index, numbers in enumerate(segments)]),
    )


def shared_length(alone: Sequence[SupervisedTokens], image_token_id: int) -> int:
    """How many tokens questions share: all up to the last visual one; none where there is no picture.

    Args:
        alone: The questions as they would stand alone.
        image_token_id: The id of visual tokens.

    Raises:
        RecordError: They begin differently.
    """
    first = alone[0].input_ids
    if image_token_id not in first:
        return 0
    shared = len(first) - first[::-1].index(image_token_id)
    if any(tokens.input_ids[:shared] != first[:shared] for tokens in alone):
        raise RecordError(
            "the questions of a conversation begin differently before their image, so they cannot share it"
        )
    return shared
