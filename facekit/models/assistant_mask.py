"""Which tokens of a rendered chat are the assistant's: spans of characters to a mask over tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence

Spans = Sequence[tuple[int, int]]


def move_spans(spans: Spans, marks: Sequence[re.Match[str]], lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Move spans along with a text in which marks are replaced by longer texts.

    Args:
        spans: Begin and end in characters of the text before.
        marks: The marks in it, in order.
        lengths: How long each is afterwards.
    """
    added = [length - len(mark[0]) for mark, length in zip(marks, lengths, strict=True)]

    def moved(position: int) -> int:
        return position + sum(more for mark, more in zip(marks, added, strict=True) if mark.start() < position)

    return [(moved(start), moved(end)) for start, end in spans]


def mask_tokens(text: str, offsets: Spans, spans: Spans) -> list[bool]:
    """Return for each token whether its first character that is not white space is in a span.

    Args:
        text: The text.
        offsets: Begin and end in characters of each token; the tokenizer's own tokens are empty, and in no span.
        spans: Begin and end in characters, in order.
    """
    is_inside = [False] * len(offsets)
    remaining = iter(spans)
    span = next(remaining, None)
    for index, (start, end) in enumerate(offsets):
        words = text[start:end]
        first = start + (len(words) - len(words.lstrip()) if words.strip() else 0)
        while span is not None and first >= span[1]:
            span = next(remaining, None)
        if span is None:
            break
        is_inside[index] = end > start and first >= span[0]
    return is_inside
