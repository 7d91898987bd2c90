"""Where the assistant's words stand in a rendered conversation, whatever the chat template does with it.

A conversation is rendered as it is, and once more with invisible marks at the ends of its turns. Where both renderings
are the same but for the marks, these show for certain where each turn stands; nothing is assumed about how the template
writes a conversation that ends earlier. What surrounds an answer is read off a rendering up to it: what asks a model
for an answer is not the model's, and the end of a turn is what follows the answer there as here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from facekit.errors import ConfigurationError

Message = Mapping[str, Any]
Render = Callable[..., str]

_START, _END, _STOP, _DIGIT = "\ufdd3", "\ufdd4", "\ufdd5", 0xFDE0
_MARK = re.compile(f"([{_START}{_END}])([\ufde0-\ufdef]+){_STOP}")
_THOUGHT = "</think>"
_REMEDY = "mark the assistant's words in the template with {% generation %} and {% endgeneration %}"


class _Marked:
    """A rendering without its marks, and where each mark stood."""

    def __init__(self, rendered: str) -> None:
        self.positions: dict[tuple[str, int], list[int]] = {}
        pieces, done, length = [], 0, 0
        for match in _MARK.finditer(rendered):
            pieces.append(rendered[done : match.start()])
            length += len(pieces[-1])
            index = int("".join(f"{ord(digit) - _DIGIT:x}" for digit in match[2]), 16)
            self.positions.setdefault((match[1], index), []).append(length)
            done = match.end()
        self.text = "".join([*pieces, rendered[done:]])

    def find(self, mark: str, index: int) -> int | None:
        """The position of a mark that stands there once."""
        found = self.positions.get((mark, index), [])
        return found[0] if len(found) == 1 else None


def find_answer_spans(
    render: Render, messages: Sequence[Message], find_tokens: Callable[[str], Iterable[re.Match[str]]]
) -> tuple[str, list[tuple[int, int]]]:
    """Render a conversation and find what the assistant writes in it.

    Args:
        render: Renders messages, and takes ``add_generation_prompt``.
        messages: ``{"role", "content"}`` with plain text.
        find_tokens: Finds the tokenizer's control tokens in a text.

    Returns:
        The text, and begin and end of each of the assistant's turns in characters: from where a model is asked for the
        answer to the end of its turn.

    Raises:
        ConfigurationError: The template changes the words of a turn, leaves an answer out or repeats it.
    """
    text = render(messages)
    marked = [_mark(index, message) for index, message in enumerate(messages)]
    whole = _Marked(render(marked))
    if whole.text != text:
        raise ConfigurationError(
            f"the chat template changes the words of a conversation, so none can be found; {_REMEDY}"
        )
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        end = whole.find(_END, index)
        start = None if end is None else _find_start(render, marked, index, whole)
        if start is None or end is None:
            told = "repeats" if (_END, index) in whole.positions else "leaves out"
            raise ConfigurationError(f"the chat template {told} turn {index + 1} of a conversation; {_REMEDY}")
        spans.append((start, end + _measure_ending(render, marked, index, whole.text[end:], find_tokens)))
    return text, spans


def _mark(index: int, message: Message) -> Message:
    """Mark where the words of a turn end, and where those of an answer begin after a thought.

    White space around them is left outside, because templates trim it, and thoughts too, because templates drop them.
    """
    words = message["content"]
    number = "".join(chr(_DIGIT + int(digit, 16)) for digit in f"{index:x}") + _STOP
    end = len(words.rstrip())
    marked = words[:end] + _END + number + words[end:]
    if message["role"] == "assistant":
        thought = words.rfind(_THOUGHT)
        start = 0 if thought < 0 else thought + len(_THOUGHT)
        start = min(end, len(words) - len(words[start:].lstrip()))
        marked = marked[:start] + _START + number + marked[start:]
    return {**message, "content": marked}


def _find_start(render: Render, marked: Sequence[Message], index: int, whole: _Marked) -> int | None:
    """Where a model goes on that is asked for an answer; the answer's first word where the text begins otherwise."""
    first_word = whole.find(_START, index)
    asked_after = whole.find(_END, index - 1)
    if asked_after is None:
        return first_word
    prompt = _Marked(render(marked[:index], add_generation_prompt=True))
    position = prompt.find(_END, index - 1)
    if position is None or not whole.text.startswith(prompt.text[position:], asked_after):
        return first_word
    return asked_after + len(prompt.text) - position


def _measure_ending(
    render: Render,
    marked: Sequence[Message],
    index: int,
    rest: str,
    find_tokens: Callable[[str], Iterable[re.Match[str]]],
) -> int:
    """How many characters after an answer belong to its turn: those that follow it where the conversation ends, too.

    Some templates write more after the last turn; then these are the control tokens that both have.
    """
    if index == len(marked) - 1:
        return len(rest.rstrip())
    alone = _Marked(render(marked[: index + 1]))
    position = alone.find(_END, index)
    ending = "" if position is None else alone.text[position:].rstrip()
    if rest.startswith(ending):
        return len(ending)
    length = 0
    for token in find_tokens(ending):
        if not rest.startswith(ending[: token.end()]):
            break
        length = token.end()
    return length
