"""``escape_chat`` and ``tokenize_chats``: other libraries' processors, with control tokens in people's words as words.

facekit's own processor escapes them itself (``facekit.models.control_tokens``). A processor of transformers writes and
tokenizes a prompt in one go; for a chat that has such words it is lent a tokenizer that knows the escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from transformers import BatchEncoding

from facekit.models.chat import Message
from facekit.models.control_tokens import ESCAPE, ControlTokens
from facekit.models.text_batch import tokenize_batch

_MARKS = ("image_token", "video_token", "boi_token", "eoi_token", "fake_image_token", "global_image_token")
"""Names by which processors keep texts that stand for pictures."""


def tokenize_chats(processor: Any, chats: Sequence[Sequence[Message]], **options: Any) -> Any:
    """Turn chats into a batch of tensors, as ``processor.apply_chat_template`` with ``tokenize`` does.

    Args:
        processor: A processor of transformers, with a chat template.
        chats: Their messages have lists of entries.
        **options: Passed to ``apply_chat_template``.

    Raises:
        ConfigurationError: A chat has control tokens in its words, and the tokenizer cannot read them as words.
    """
    escaped = [escape_chat(processor, chat) for chat in chats]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt", **options}
    if escaped == list(chats):
        return processor.apply_chat_template(escaped, **options)
    with _lent_tokenizer(processor):
        return processor.apply_chat_template(escaped, **options)


def escape_chat(processor: Any, chat: Sequence[Message]) -> list[Message]:
    """A chat with the control tokens in its words marked as words; see ``ControlTokens.escape``."""
    tokens = _control_tokens(processor)
    return [
        {**message, "content": [_escape(entry, tokens, message) for entry in message["content"]]} for message in chat
    ]


def _escape(entry: Message, tokens: ControlTokens, message: Message) -> Message:
    if entry.get("type") != "text":
        return entry
    return {**entry, "text": tokens.escape(entry["text"], str(message["role"]))}


def _control_tokens(processor: Any) -> ControlTokens:
    marks = dict.fromkeys(mark for name in _MARKS if isinstance(mark := getattr(processor, name, None), str))
    return ControlTokens.of(processor.tokenizer, processor.chat_template, tuple(marks))


@contextmanager
def _lent_tokenizer(processor: Any) -> Iterator[None]:
    tokenizer = processor.tokenizer
    processor.tokenizer = _EscapingTokenizer(tokenizer, _control_tokens(processor))
    try:
        yield
    finally:
        processor.tokenizer = tokenizer


class _EscapingTokenizer:
    """A tokenizer to which escaped control tokens are words; in all else it is the one that it stands in for."""

    def __init__(self, tokenizer: Any, control_tokens: ControlTokens) -> None:
        self._tokenizer, self._control_tokens = tokenizer, control_tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: Any, *arguments: Any, **options: Any) -> Any:
        texts = [text] if isinstance(text, str) else text
        if not any(ESCAPE in each for each in texts):
            return self._tokenizer(text, *arguments, **options)
        adds = [bool(options.pop("add_special_tokens", True))] * len(texts)
        wanted = options.pop("return_offsets_mapping", False)
        tokens = tokenize_batch(
            self._tokenizer, self._control_tokens, texts, adds, return_offsets_mapping=True, **options
        )
        offsets = tokens["offset_mapping"] if wanted else tokens.pop("offset_mapping")
        return _EscapedTokens(dict(tokens), offsets)


class _EscapedTokens(BatchEncoding):
    """Tokens of texts with escapes; some processors look for the tokens of a picture by characters."""

    def __init__(self, data: dict[str, Any], offsets: Sequence[Sequence[tuple[int, int]]]) -> None:
        super().__init__(data)
        self._offsets = offsets

    def char_to_token(  # type: ignore[override]  # always of a batch
        self, batch_index: int, char_index: int, sequence_index: int = 0
    ) -> int | None:
        """Index of the token that has a character of a text, with its escapes."""
        del sequence_index
        spans = enumerate(self._offsets[batch_index])
        return next((index for index, (start, end) in spans if start <= char_index < end), None)
