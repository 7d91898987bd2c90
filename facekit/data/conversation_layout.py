"""How a record's conversation is laid out for training: which questions with their answers, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from facekit.data.packing import PackedTokens, pack_exchanges
from facekit.data.records import FaceRecord, Turn
from facekit.data.supervision import (
    SupervisedTokens,
    count_marked,
    encode_conversation,
    media_lead,
    place_media,
    without_leading_marks,
)
from facekit.models.processing import FaceKitProcessor


@dataclass(frozen=True)
class ConversationLayout:
    """A record's conversation by questions, without the marks of media that stand before all of them.

    Args:
        opening: What comes before the first question.
        exchanges: The questions with their answers.
        media_lead: Whether all media stand before the first question; otherwise the questions mark them.
        stands_alone: Whether each question can be asked by itself.
    """

    opening: list[Turn]
    exchanges: list[list[Turn]]
    media_lead: bool
    stands_alone: bool

    @classmethod
    def of(cls, record: FaceRecord, frames: Sequence[int]) -> Self:
        """Raises ``RecordError`` where the conversation has no question, or marks other media than there are."""
        turns = place_media(record.conversations, len(frames))
        leads = media_lead(turns)
        opening, exchanges = split_exchanges(without_leading_marks(turns) if leads else turns)
        return cls(opening, exchanges, leads, record.independent_questions and leads)


def encode_turns(
    record: FaceRecord,
    processor: FaceKitProcessor,
    frames: tuple[int, ...],
    rng: np.random.Generator,
    kept: Sequence[int] | None,
    *,
    shuffle: bool,
    turns_per_example: int | None,
    independent: bool,
) -> SupervisedTokens | PackedTokens:
    """Encode a record's conversation with its labels.

    Args:
        record: The record.
        processor: The model's processor.
        frames: Of each picture or clip.
        rng: Decides the order of questions that stand alone.
        kept: Indices of the questions that fit; None for all with an answer.
        shuffle: Whether questions that stand alone are shuffled.
        turns_per_example: The most questions; None for all.
        independent: Whether questions that stand alone do not see each other.
    """
    layout = ConversationLayout.of(record, frames)
    opening, exchanges = layout.opening, layout.exchanges
    if kept is None:
        exchanges = [turns for turns in exchanges if any(turn.role == "assistant" for turn in turns)] or exchanges
    else:
        exchanges = [exchanges[index] for index in kept]
    if shuffle and layout.stands_alone:
        exchanges = [exchanges[index] for index in rng.permutation(len(exchanges))]
    chosen = exchanges[:turns_per_example]
    dialogue = [turn for turns in chosen for turn in turns]
    if independent and layout.media_lead:
        return pack_exchanges(processor, opening, chosen if layout.stands_alone else [dialogue], frames=frames)
    shown = frames if layout.media_lead else frames[: count_marked(opening + dialogue)]
    return encode_conversation(processor, opening + dialogue, frames=shown)


def split_exchanges(turns: Sequence[Turn]) -> tuple[list[Turn], list[list[Turn]]]:
    """Split a conversation into what comes before the first question, and questions with their answers."""
    opening: list[Turn] = []
    exchanges: list[list[Turn]] = []
    for turn in turns:
        if turn.role == "user" and (not exchanges or exchanges[-1][-1].role == "assistant"):
            exchanges.append([turn])
        elif exchanges:
            exchanges[-1].append(turn)
        else:
            opening.append(turn)
    return opening, exchanges
