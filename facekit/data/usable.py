"""Which questions of a record can be trained on: a property of the record, whatever an epoch's order.

A question is left out where it has no answer, where the chat template refuses it, or where it does not fit. What fits
is decided in the order of the record: one long answer costs that question, and no other. Of a dialogue, whose later
turns need the earlier ones, the beginning that fits is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jinja2 import TemplateError

from facekit.data.packing import shared_length
from facekit.data.records import Turn
from facekit.data.supervision import SupervisedTokens, count_marked, encode_conversation
from facekit.errors import FaceKitError, RecordError, first_line
from facekit.models.processing import FaceKitProcessor

_JOINT = 4
"""Tokens by which a question may be longer after another one than at the beginning, such as a separator."""


@dataclass(frozen=True)
class TokenLimit:
    """The longest sequence.

    Args:
        tokens: Its length.
        name: What messages call the bound.
        remedy: What to do about it.
    """

    tokens: int
    name: str = "max_tokens"
    remedy: str = "raise max_tokens"


@dataclass(frozen=True)
class LeftOut:
    """A question that is not trained on.

    Args:
        question: Its number in the record, from 1.
        reason: Why not.
    """

    question: int
    reason: str


@dataclass(frozen=True)
class UsableQuestions:
    """The questions of a record that are trained on.

    Args:
        kept: Their indices among the record's questions, in order.
        left_out: The others.
    """

    kept: tuple[int, ...]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Arrangement:
    """How the questions of a record become sequences.

    Args:
        is_dialogue: Whether later questions need earlier ones.
        is_packed: Whether each question sees the shared beginning and itself only.
        at_once: Most questions in a sequence; None for all.
        limit: The longest sequence, if any.
        is_marked: Whether the questions mark their media themselves; otherwise all stand before the first.
    """

    is_dialogue: bool = True
    is_packed: bool = False
    at_once: int | None = None
    limit: TokenLimit | None = None
    is_marked: bool = False


def find_usable(
    processor: FaceKitProcessor,
    opening: Sequence[Turn],
    exchanges: Sequence[Sequence[Turn]],
    arrangement: Arrangement,
    *,
    frames: int | Sequence[int] = 1,
) -> UsableQuestions:
    """Find out which questions of a record can be trained on.

    Args:
        processor: The model's processor.
        opening: What stands before every question, such as a system message.
        exchanges: The questions, each with its answer.
        arrangement: How they become sequences.
        frames: Frames of the clip, 1 for an image; of each where there are several, and none for text alone.

    Raises:
        RecordError: None can.
        ConfigurationError: The chat template refuses the conversation; see ``encode_conversation``.
    """
    media = (frames,) if isinstance(frames, int) else tuple(frames)
    search = _Search(processor, list(opening), [list(exchange) for exchange in exchanges], arrangement, media)
    kept = search.cut_dialogue() if arrangement.is_dialogue else search.choose_questions()
    return UsableQuestions(tuple(kept), tuple(sorted(search.left_out, key=lambda each: each.question)))


@dataclass
class _Search:
    processor: FaceKitProcessor
    opening: list[Turn]
    exchanges: list[list[Turn]]
    arrangement: Arrangement
    frames: tuple[int, ...]
    left_out: list[LeftOut] = field(default_factory=list)

    def cut_dialogue(self) -> list[int]:
        """The beginning of a dialogue that fits."""
        kept = self._answered()[: self.arrangement.at_once]
        while kept:
            length = len(self._encode(kept).input_ids)
            if self._fits(length):
                return kept
            self._leave_out(kept.pop(), f"the dialogue has {length} tokens at its end, {self._bound()}")
        raise self._nothing_fits()

    def choose_questions(self) -> list[int]:
        """The questions that fit, in the order of the record, so that a long one costs no other."""
        answered = self._answered()
        limit, is_packed = self.arrangement.limit, self.arrangement.is_packed
        whole = None if is_packed else self._try_together(answered)
        if whole is not None and (limit is None or whole + _JOINT * len(answered) <= limit.tokens):
            return answered
        alone = self._encode_alone(answered)
        if not alone:
            raise RecordError(self.left_out[-1].reason)
        if limit is None:
            return list(alone)
        shared = self._shared(list(alone.values()))
        lengths = {index: len(tokens.input_ids) - shared for index, tokens in alone.items()}
        shared += max(0, (whole or 0) - shared - sum(lengths.values()))
        kept: list[int] = []
        for index, length in lengths.items():
            together = sorted((lengths[each] for each in [*kept, index]), reverse=True)
            total = shared + sum(together[: self.arrangement.at_once])
            if self._fits(total):
                kept.append(index)
            elif self._fits(shared + length):
                self._leave_out(index, f"with the questions before it there are {total} tokens, {self._bound()}")
            else:
                self._leave_out(index, f"it has {shared + length} tokens with its answer, {self._bound()}")
        if not kept:
            raise self._nothing_fits()
        return kept

    def _answered(self) -> list[int]:
        answered = []
        for index, exchange in enumerate(self.exchanges):
            if any(turn.role == "assistant" for turn in exchange):
                answered.append(index)
            else:
                self._leave_out(index, "it has no answer")
        if not answered:
            raise RecordError(_fault_of_sides(self.opening, self.exchanges))
        return answered

    def _encode(self, chosen: Sequence[int]) -> SupervisedTokens:
        turns = [*self.opening, *(turn for index in chosen for turn in self.exchanges[index])]
        shown = self.frames[: count_marked(turns)] if self.arrangement.is_marked else self.frames
        try:
            return encode_conversation(self.processor, turns, frames=shown)
        except TemplateError as error:
            raise RecordError(f"the chat template refuses the conversation: {first_line(error)}") from error

    def _try_together(self, chosen: Sequence[int]) -> int | None:
        """Tokens of questions one after the other; None where the template refuses that."""
        try:
            return len(self._encode(chosen).input_ids)
        except FaceKitError:
            if len(chosen) == 1:
                raise
            return None

    def _encode_alone(self, answered: Sequence[int]) -> dict[int, SupervisedTokens]:
        alone = {}
        for index in answered:
            try:
                alone[index] = self._encode([index])
            except FaceKitError as error:
                self._leave_out(index, str(error))
        return alone

    def _shared(self, alone: Sequence[SupervisedTokens]) -> int:
        try:
            return shared_length(alone, self.processor.image_token_id)
        except RecordError:
            if self.arrangement.is_packed:
                raise
            return 0

    def _fits(self, length: int) -> bool:
        return self.arrangement.limit is None or length <= self.arrangement.limit.tokens

    def _bound(self) -> str:
        limit = self.arrangement.limit
        assert limit is not None
        return f"and {limit.name} is {limit.tokens}"

    def _leave_out(self, index: int, reason: str) -> None:
        self.left_out.append(LeftOut(index + 1, reason))

    def _nothing_fits(self) -> RecordError:
        limit = self.arrangement.limit
        assert limit is not None
        return RecordError(
            f"a conversation has no answer that ends within {limit.tokens} tokens ({limit.name}); {limit.remedy}"
        )


def _fault_of_sides(opening: Sequence[Turn], exchanges: Sequence[Sequence[Turn]]) -> str:
    if not opening and not exchanges:
        return "it has no conversation; annotate the records first"
    if not exchanges:
        return "a conversation has no user turn, so there is no turn that could show the image; add one"
    return "a conversation has no assistant turn, so there is nothing to learn from it"
