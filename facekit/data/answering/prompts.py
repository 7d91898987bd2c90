"""The questions of a record, each with the chat in which it is put to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facekit.data.conversation_layout import split_exchanges
from facekit.data.marks import split_marks
from facekit.data.record_media import media_frames
from facekit.data.records import FaceRecord, Turn
from facekit.data.supervision import media_lead, place_media, without_leading_marks
from facekit.errors import RecordError
from facekit.models.control_tokens import unescape_control_tokens
from facekit.models.processing import FaceKitProcessor

__all__ = ["ChatQuestion", "asked_words", "recorded_questions"]


@dataclass(frozen=True)
class ChatQuestion:
    """A question of a record.

    Args:
        words: What is asked.
        turns: The chat up to it; pictures stand where its questions mark them.
        media_lead: Whether all media stand before the first question instead.
    """

    words: str
    turns: tuple[Turn, ...]
    media_lead: bool

    def write(self, processor: FaceKitProcessor, is_clip: Sequence[bool]) -> str:
        """Write the prompt, up to the start of the answer.

        Args:
            processor: The model's processor.
            is_clip: Of each of the record's media, whether it is a clip.
        """
        kinds = iter([{"type": "video" if each else "image"} for each in is_clip])
        first = next(index for index, turn in enumerate(self.turns) if turn.role == "user")
        chat: list[dict[str, Any]] = []
        for index, turn in enumerate(self.turns):
            content: Any = turn.content
            if turn.role == "user" and self.media_lead:
                content = [*(kinds if index == first else ()), {"type": "text", "text": turn.content}]
            elif turn.role == "user":
                content = [next(kinds) if part["type"] == "image" else part for part in split_marks(turn.content)]
            chat.append({"role": turn.role, "content": content})
        prompt: str = processor.apply_chat_template(chat, add_generation_prompt=True)
        return prompt


def recorded_questions(record: FaceRecord) -> list[ChatQuestion]:
    """The questions of a record's conversation.

    Those of a record with ``independent_questions`` are asked by themselves; those of a dialogue after what was said
    before, with the answers that are recorded.

    Raises:
        RecordError: There is none, or it marks other media than the record has.
    """
    if not record.conversations:
        raise RecordError("the record asks nothing; give --question, or records with conversations")
    turns = place_media(record.conversations, len(media_frames(record, len(record.media_paths("")))))
    leads = media_lead(turns)
    opening, exchanges = split_exchanges(without_leading_marks(turns) if leads else turns)
    stands_alone = record.independent_questions and leads
    before, questions = list(opening), []
    for exchange in exchanges:
        asked = [turn for turn in exchange if turn.role == "user"]
        words = "\n".join(unescape_control_tokens(turn.content) for turn in asked)
        questions.append(ChatQuestion(words, (*before, *asked), leads))
        if not stands_alone:
            before += exchange
    return questions


def asked_words(words: str) -> ChatQuestion:
    """A question of one's own, about all media of a record."""
    return ChatQuestion(words, (Turn(role="user", content=words),), media_lead=True)
