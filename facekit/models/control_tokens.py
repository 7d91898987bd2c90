"""Control tokens in people's words: ``<|im_end|>``, ``</s>`` or ``<image>`` typed in a question stay words.

A tokenizer reads its special tokens wherever they stand in a text, so that a question could end its own turn or show a
picture that is not there. Here the words of a chat are escaped before the chat template writes the prompt: an
occurrence gets an invisible character (``ESCAPE``) behind its first letter, with which a prompt is an ordinary string.
``ControlTokens.tokenize`` leaves the character out again and tokenizes the occurrence as any other word, with a twin
of the tokenizer whose control tokens have other names and the same ids. A text without such words never meets it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

from tokenizers import Tokenizer
from transformers import AddedToken, BatchEncoding, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from facekit.backbones.id_tokenizer import is_id_tokenizer
from facekit.errors import ConfigurationError, first_line

ESCAPE = "\ufdd0"
"""Marks a control token that is meant as words. It is one of the characters that Unicode keeps for such use."""

_RESERVED = re.compile("[\ufdd0-\ufdef]")
_OPEN, _CLOSE, _DIGIT = "\ufdd1", "\ufdd2", 0xFDE0


class ControlTokens:
    """The control tokens of a tokenizer, and texts in which they are words.

    Control tokens are the special tokens and, in what a user says, also the added tokens that the chat template writes,
    such as Qwen3's ``<think>``, which are not special. What a tokenizer has no token for, such as Vicuna's ``USER:``,
    cannot be told from words.

    Args:
        tokenizer: The tokenizer; only referred to.
        chat_template: The chat template in use.
        marks: Further texts that stand for something else than words, such as the video token.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None, marks: Sequence[str] = ()
    ) -> None:
        added = {} if is_id_tokenizer(tokenizer) else tokenizer.added_tokens_decoder
        words = {index: token for index, token in added.items() if len(token.content.strip()) > 1}
        self._ids = {
            token.content: index
            for index, token in words.items()
            if token.special or token.content in (chat_template or "")
        }
        special = [AddedToken(mark) for mark in marks] + [token for token in words.values() if token.special]
        self._special = _pattern(special)
        self._all = _pattern([*special, *(token for token in words.values() if token.content in self._ids)])
        self._tokenizer = ref(tokenizer)
        self._twin: PreTrainedTokenizerFast | None = None
        self._names = {name: _stand_in(index) for name, index in self._ids.items()}

    @classmethod
    def of(
        cls, tokenizer: PreTrainedTokenizerBase, chat_template: Any = None, marks: Sequence[str] = ()
    ) -> ControlTokens:
        """Return those of a tokenizer, which are remembered as long as it is there."""
        chat_template = chat_template if isinstance(chat_template, str) else None  # a tokenizer may have several
        known = _known.setdefault(tokenizer, {})
        key = (len(tokenizer), chat_template, tuple(marks))
        if key not in known:
            known[key] = cls(tokenizer, chat_template, marks)
        return known[key]

    def escape(self, text: str, role: str = "user") -> str:
        """Return a text in which every control token is marked as words.

        Args:
            text: What somebody said.
            role: Who; the words of ``assistant`` and ``system`` may hold tokens that are not special, such as
                ``<think>``, those of anybody else none.
        """
        pattern = self._special if role in ("assistant", "system") else self._all
        text = _RESERVED.sub("", text)
        while pattern.search(text):
            text = pattern.sub(lambda match: match[0][0] + ESCAPE + match[0][1:], text)
        return text

    def find(self, text: str) -> Iterator[re.Match[str]]:
        """Yield the control tokens of a text that are not escaped, in their order."""
        return self._all.finditer(text)

    def tokenize(self, text: str, *, add_special_tokens: bool = False, **options: Any) -> BatchEncoding:
        """Tokenize a text, in which escaped control tokens are words.

        Args:
            text: The text.
            add_special_tokens: Whether the tokenizer adds its own.
            **options: Passed to the tokenizer, such as ``truncation`` or ``return_offsets_mapping``; offsets count in
                ``text``, with its escapes.

        Raises:
            ConfigurationError: The text has escaped words and the tokenizer cannot read control tokens as words.
        """
        tokenizer = self._tokenizer()
        assert tokenizer is not None  # who tokenizes holds it
        if ESCAPE not in text:
            plain: BatchEncoding = tokenizer(text, add_special_tokens=add_special_tokens, **options)
            return plain
        if self._twin is None:
            self._twin = _build_twin(tokenizer, self._names, self._ids)
        written, positions = self._write(text)
        encoding: BatchEncoding = self._twin(written, add_special_tokens=add_special_tokens, **options)
        if "offset_mapping" in encoding:
            moved = [_move(offsets, positions, len(text)) for offsets in encoding["offset_mapping"]]
            encoding["offset_mapping"] = moved
        return encoding

    def _write(self, text: str) -> tuple[str, list[tuple[int, int]]]:
        """Write tokens by the twin's names and leave escapes out; of each character, begin and end in ``text``."""
        pieces, positions, done = [], [], 0
        for match in re.finditer(f"{ESCAPE}|{self._all.pattern}", text):
            name = self._names.get(match[0], "" if match[0] == ESCAPE else match[0])
            pieces += [text[done : match.start()], name]
            positions += [(position, position + 1) for position in range(done, match.start())] + [match.span()] * len(
                name
            )
            done = match.end()
        positions += [(position, position + 1) for position in range(done, len(text))]
        return "".join([*pieces, text[done:]]), positions


def unescape_control_tokens(text: str) -> str:
    """Return a text that ``ControlTokens.escape`` wrote, or a prompt with such texts, for people to read."""
    return text.replace(ESCAPE, "")


def _build_twin(
    tokenizer: PreTrainedTokenizerBase, names: Mapping[str, str], ids: Mapping[str, int]
) -> PreTrainedTokenizerFast:
    """A tokenizer whose control tokens have names that nobody types; their ids, and how they are read, are the same."""
    remedy = f"leave words such as {next(iter(names), '<image>')!r} out of the text"
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        kind = type(tokenizer).__name__
        raise ConfigurationError(f"{kind} cannot read control tokens as words; use the fast tokenizer, or {remedy}")
    try:
        backend = Tokenizer.from_str(_rename(tokenizer.backend_tokenizer.to_str(), names))
    except Exception as error:  # the tokenizers library raises plain exceptions
        reason = first_line(error)
        raise ConfigurationError(f"the tokenizer cannot read control tokens as words ({reason}); {remedy}") from error
    backend.no_truncation()
    backend.no_padding()
    read = [encoding.ids for encoding in backend.encode_batch(list(names.values()), add_special_tokens=False)]
    if read != [[ids[name]] for name in names]:
        raise ConfigurationError(f"the tokenizer cannot read control tokens as words; {remedy}")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=tokenizer.model_input_names,
        model_max_length=tokenizer.model_max_length,
        truncation_side=tokenizer.truncation_side,
    )


def _rename(source: str, names: Mapping[str, str]) -> str:
    """Rename tokens in a tokenizer's JSON, so that the old names are words like others."""
    parts = json.loads(source)
    for token in parts["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = parts["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): index for piece, index in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if names.keys().isdisjoint([*pair, "".join(pair)])]
    return json.dumps(parts)


def _pattern(tokens: Sequence[AddedToken]) -> re.Pattern[str]:
    texts = {token.content: token.single_word for token in tokens}
    longest_first = sorted(texts, key=len, reverse=True)
    words = [rf"(?<!\w){re.escape(text)}(?!\w)" if texts[text] else re.escape(text) for text in longest_first]
    return re.compile("|".join(words) if words else r"(?!)")


def _stand_in(index: int) -> str:
    return _OPEN + "".join(chr(_DIGIT + int(digit, 16)) for digit in f"{index:x}") + _CLOSE


def _move(offsets: tuple[int, int], positions: Sequence[tuple[int, int]], end: int) -> tuple[int, int]:
    start, stop = offsets
    if stop > start:
        return positions[start][0], positions[stop - 1][1]
    position = positions[start][0] if start < len(positions) else end
    return position, position


_known: WeakKeyDictionary[PreTrainedTokenizerBase, dict[Any, ControlTokens]] = WeakKeyDictionary()
