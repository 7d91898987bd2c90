"""Loss masking: the tokens of a conversation that are labelled are the assistant's words, under any chat template.

Chat templates are foreign code that nobody can list, so the words are found by what templates do, not by what they
look like: a conversation is rendered and its assistant turns are located in the text, either by the template's own
``{% generation %}`` marks or by ``facekit.data.answer_spans``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from facekit.compat.transformers_templates import marks_answers, render_marked_template
from facekit.counted import counted
from facekit.data.answer_spans import find_answer_spans
from facekit.data.marks import MARKS, count_marks, settle_marks, spell_marks, split_marks, strip_leading_marks
from facekit.data.records import Turn
from facekit.errors import ConfigurationError, RecordError
from facekit.models.assistant_mask import mask_tokens, move_spans
from facekit.models.control_tokens import ESCAPE, ControlTokens
from facekit.models.processing import FaceKitProcessor

IGNORED = -100
"""The label that PyTorch's cross-entropy leaves out."""


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation as the language model's chat template writes it.

    Args:
        text: The whole conversation.
        spans: Start and end, in characters, of what the assistant says, one pair per turn. An end-of-turn token that
            the template writes is part of the turn; white space after it is not.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    def expand(self, token: str, counts: int | Sequence[int | str]) -> RenderedConversation:
        """Repeat or replace the occurrences of ``token``, moving the spans along.

        Args:
            token: The image token.
            counts: How often each occurrence stands there afterwards, or by what text it is replaced, in order; one
                number for all of them.
        """
        marks = list(re.finditer(re.escape(token), self.text))
        listed = [counts] * len(marks) if isinstance(counts, int) else list(counts)
        texts = [token * each if isinstance(each, int) else each for each in listed]
        spans = tuple(move_spans(self.spans, marks, [len(text) for text in texts]))
        remaining = iter(texts)
        text = re.sub(re.escape(token), lambda match: next(remaining), self.text)
        return RenderedConversation(text, spans)


@dataclass(frozen=True)
class SupervisedTokens:
    """A conversation as numbers.

    Args:
        input_ids: Token ids, image tokens expanded.
        labels: The same ids where the assistant speaks, ``IGNORED`` elsewhere.
    """

    input_ids: list[int]
    labels: list[int]


def render_conversation(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    *,
    chat_template: str | None = None,
    lay_out: Callable[[Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Any]]] = list,
) -> RenderedConversation:
    """Render a conversation and find the assistant's words in it.

    Args:
        tokenizer: The tokenizer that has the chat template.
        messages: ``{"role", "content"}`` with plain text.
        chat_template: Jinja source in place of the tokenizer's.
        lay_out: Makes what the template takes of messages of plain text; see ``FaceKitProcessor.lay_out``.

    Returns:
        The text and the assistant's spans.

    Raises:
        ConfigurationError: There is no template; or it has no ``{% generation %}`` marks and changes the words of a
            turn, leaves an answer out or repeats it, so that no span is certain.
    """
    template = chat_template or tokenizer.chat_template
    if template is None:
        raise ConfigurationError("the tokenizer has no chat template; pass one, or set processor.chat_template")
    messages = [dict(message) for message in messages]
    if marks_answers(template):
        text, spans = render_marked_template(tokenizer, lay_out(messages), template)
        return RenderedConversation(text, tuple(spans))

    def render(opening: Any, **options: Any) -> str:
        laid_out: Any = lay_out(opening)
        return str(tokenizer.apply_chat_template(laid_out, chat_template=template, tokenize=False, **options))

    text, spans = find_answer_spans(render, messages, ControlTokens.of(tokenizer, template).find)
    return RenderedConversation(text, tuple(spans))


def supervise(
    tokenizer: PreTrainedTokenizerBase,
    rendered: RenderedConversation,
    *,
    add_special_tokens: bool = False,
    control_tokens: ControlTokens | None = None,
) -> SupervisedTokens:
    """Tokenise a rendered conversation with labels on the assistant's words only.

    A token belongs to the assistant where its first character that is not white space does.

    Args:
        tokenizer: A fast tokenizer, because offsets are needed.
        rendered: The conversation, image tokens expanded already.
        add_special_tokens: Whether the tokenizer adds its own; they get no label.
        control_tokens: The tokenizer's, with the chat template in use; by default those of its own.

    Raises:
        ConfigurationError: The tokenizer gives no offsets.
    """
    if not tokenizer.is_fast:
        raise ConfigurationError(
            f"{type(tokenizer).__name__} gives no character offsets, which supervision needs; use the fast tokenizer"
        )
    control_tokens = control_tokens or ControlTokens.of(tokenizer, tokenizer.chat_template)
    options: dict[str, Any] = {"add_special_tokens": add_special_tokens, "return_offsets_mapping": True}
    encoding = control_tokens.tokenize(rendered.text, **options)
    ids: list[int] = list(encoding["input_ids"])
    is_answer = mask_tokens(rendered.text, encoding["offset_mapping"], rendered.spans)
    labels = [token if labelled else IGNORED for token, labelled in zip(ids, is_answer, strict=True)]
    return SupervisedTokens(ids, labels)


def encode_conversation(
    processor: FaceKitProcessor,
    turns: Sequence[Turn],
    *,
    frames: int | Sequence[int] = 1,
    max_tokens: int | None = None,
) -> SupervisedTokens:
    """Turn a conversation about an image, a clip, several pictures, or text alone into tokens and labels.

    Media stand where the words mark them, see ``facekit.data.marks``, else before those of the first user turn. Where
    the sequence is too long, turns are dropped from its end, a question with its answer at a time, so that no answer is
    cut.

    Args:
        processor: The model's processor: tokenizer, chat template, number of visual tokens.
        turns: The conversation.
        frames: Frames of the clip, 1 for an image; of each where there are several, and none for text alone.
        max_tokens: Longest sequence.

    Raises:
        RecordError: The conversation has no user turn or no answer, not even its first answer fits, or it marks other
            media than it has.
        ConfigurationError: See ``render_conversation`` and ``supervise``.
    """
    media = (frames,) if isinstance(frames, int) else tuple(frames)
    if not any(turn.role == "assistant" for turn in turns):
        raise RecordError("a conversation has no assistant turn, so there is nothing to learn from it")
    turns = place_media(turns, len(media))
    texts = processor.media_texts(media)
    template: Any = processor.chat_template
    while any(turn.role == "assistant" for turn in turns):
        rendered = render_conversation(
            processor.tokenizer, _as_chat(turns, processor), chat_template=template, lay_out=processor.lay_out
        )
        add_special_tokens = processor.adds_special_tokens(rendered.text)
        expanded = rendered.expand(processor.image_token, texts[: count_marked(turns)])
        tokens = supervise(
            processor.tokenizer,
            expanded,
            add_special_tokens=add_special_tokens,
            control_tokens=processor.control_tokens,
        )
        if max_tokens is None or len(tokens.input_ids) <= max_tokens:
            return tokens
        answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
        turns = turns[: answers[-2] + 1] if len(answers) > 1 else []
    raise RecordError(f"a conversation has no answer that ends within {max_tokens} tokens; raise max_tokens")


def place_media(turns: Sequence[Turn], media: int) -> list[Turn]:
    """Return a conversation that marks each of its media; where it marks none, they stand before its first question.

    Of one picture, or text alone, words that look like a mark stay words; see ``facekit.data.marks.settle_marks``.

    Args:
        turns: The conversation.
        media: How many pictures and clips it is about.

    Raises:
        RecordError: There is no user turn, or other media are marked than there are.
    """
    first = next((index for index, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        raise RecordError("a conversation has no user turn, so there is no turn that could show the image; add one")
    if media < 2:
        turns = _settle(turns, first, has_picture=media == 1)
    marked = count_marked(turns)
    if marked == media:
        return list(turns)
    if marked:
        raise RecordError(
            f"a conversation marks {counted(marked, 'picture')} in its questions, but the record has {media}"
        )
    words = "\n".join([*[MARKS["image"]] * media, turns[first].content])
    return [turn if index != first else turn.model_copy(update={"content": words}) for index, turn in enumerate(turns)]


def _settle(turns: Sequence[Turn], first: int, *, has_picture: bool) -> list[Turn]:
    """A conversation about one picture, or none, in which at most that picture is marked."""
    settled, is_open = [], has_picture
    for index, turn in enumerate(turns):
        if turn.role != "user" or not count_marks(turn.content):
            settled.append(turn)
            continue
        words = spell_marks(turn.content, _spell)
        if has_picture:
            words, is_open = settle_marks(turn.content, is_first=index == first, has_picture=is_open, spell=_spell)
        settled.append(turn.model_copy(update={"content": words}))
    return settled


def _spell(mark: str) -> str:
    return mark[0] + ESCAPE + mark[1:]


def count_marked(turns: Sequence[Turn]) -> int:
    """How many pictures and clips the questions of a conversation mark."""
    return sum(count_marks(turn.content) for turn in turns if turn.role == "user")


def media_lead(turns: Sequence[Turn]) -> bool:
    """Whether all media stand before the words of the first question, so that any other question may come first."""
    questions = [turn.content for turn in turns if turn.role == "user"]
    return not any(count_marks(words) for words in [strip_leading_marks(questions[0]), *questions[1:]])


def without_leading_marks(turns: Sequence[Turn]) -> list[Turn]:
    """A conversation without the marks that its first question begins with."""
    first = next(index for index, turn in enumerate(turns) if turn.role == "user")
    words = strip_leading_marks(turns[first].content)
    return [turn if index != first else turn.model_copy(update={"content": words}) for index, turn in enumerate(turns)]


def _as_chat(turns: Sequence[Turn], processor: FaceKitProcessor) -> list[dict[str, Any]]:
    messages = [
        {"role": turn.role, "content": split_marks(turn.content) if turn.role == "user" else turn.content}
        for turn in turns
    ]
    return processor.flatten(messages).messages
