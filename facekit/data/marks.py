"""Marks of pictures and clips in the words of a conversation, as LLaVA's files have them.

``<image>`` and ``<video>`` in a question say where a record's media stand, in the order of the record. Hugging Face's
messages say it by entries of a list (``{"type": "image"}``); ``join_parts`` writes these as marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

MARKS = {"image": "<image>", "video": "<video>"}

_MARK = re.compile(r"<(?:image|video)>")
_SPACED_MARK = re.compile(r"(?:[ \t]*\n|[ \t]+)?<(?:image|video)>(?:\n|[ \t]+)?")
_MARK_AND_SPACES = re.compile(r"((?:[ \t]*\n|[ \t]+)?)(<(?:image|video)>)((?:\n|[ \t]+)?)")
_PART_KINDS = {"image": "image", "image_url": "image", "video": "video", "video_url": "video"}


def count_marks(words: str) -> int:
    """How many pictures and clips are marked in words."""
    return len(_MARK.findall(words))


def strip_leading_marks(words: str) -> str:
    """Words without the marks that they begin with, and the line break or spaces beside each."""
    while match := _SPACED_MARK.match(words):
        words = words[match.end() :]
    return words


def spell_marks(words: str, spell: Callable[[str], str]) -> str:
    """Words of a text alone, in which what looks like a mark is written as words by ``spell``."""
    return _MARK.sub(lambda match: spell(match[0]), words)


def settle_marks(words: str, *, is_first: bool, has_picture: bool, spell: Callable[[str], str]) -> tuple[str, bool]:
    """Tell marks of a record's only picture from words that look like them.

    A mark stands on a line of its own, or at the beginning or the end of the first question. The picture then stands
    on that line, or before the first question; a further mark is of the same picture, and is left out. Anything else is
    words.

    Args:
        words: A question.
        is_first: Whether it is the first one.
        has_picture: Whether the picture is still to be placed.
        spell: Writes what looks like a mark as words.

    Returns:
        The question, and whether the picture is still to be placed.
    """

    def settle(match: re.Match[str]) -> str:
        nonlocal has_picture
        before, mark, after = match.groups()
        left = _MARK.sub("", words[: match.start(2)])
        right = _MARK.sub("", words[match.end(2) :])
        is_at_end = is_first and not (left.strip() and right.strip())
        if not is_at_end and not (_ends_line(left) and _ends_line(right[::-1])):
            return f"{before}{spell(mark)}{after}"
        if has_picture and not is_at_end:
            has_picture = False
            return match[0]
        has_picture = False
        return "\n" if left.strip() and right.strip() else ""

    return _MARK_AND_SPACES.sub(settle, words), has_picture


def split_marks(words: str) -> list[dict[str, str]]:
    """Words as a list of entries of type ``text`` and ``image``, in their order.

    A line break or spaces beside a mark are left out, for entries are joined by line breaks again. A clip's mark is an
    entry of type ``image`` too: which of the record's media it stands for is known by its number.
    """
    entries: list[dict[str, str]] = []
    for number, text in enumerate(_SPACED_MARK.split(words)):
        if number:
            entries.append({"type": "image"})
        if text.strip():
            entries.append({"type": "text", "text": text})
    return entries


def join_parts(parts: Sequence[Any]) -> str:
    """Write the content of a message of Hugging Face's format, a list of entries, as words with marks.

    Raises:
        ValueError: An entry is neither text nor a picture or clip.
    """
    return "\n".join(_join(part) for part in parts)


def find_sources(parts: Sequence[Any]) -> list[tuple[Literal["image", "video"], Any]]:
    """Kind and path of every picture and clip among the entries of a message; None where an entry has no path.

    Raises:
        ValueError: An entry is neither text nor a picture or clip.
    """
    found: list[tuple[Any, Any]] = []
    for part in parts:
        kind = _kind_of(part)
        if kind == "text":
            continue
        names = (kind, "path", "url", f"{kind}_url")
        source = next((part[name] for name in names if part.get(name) is not None), None)
        found.append((kind, source.get("url") if isinstance(source, Mapping) else source))
    return found


def _ends_line(words: str) -> bool:
    return words.rstrip(" \t")[-1:] in ("", "\n")


def _join(part: Any) -> str:
    kind = _kind_of(part)
    if kind != "text":
        return MARKS[kind]
    text = part.get("text")
    if not isinstance(text, str) or _MARK.search(text):
        raise ValueError(f"an entry of type 'text' has words under 'text', without marks of pictures, not {text!r}")
    return text


def _kind_of(part: Any) -> str:
    named = part.get("type") if isinstance(part, Mapping) else None
    kind = "text" if named == "text" else _PART_KINDS.get(str(named))
    if kind is None:
        raise ValueError(f"an entry of a turn is of type 'text', 'image' or 'video', not {named!r}")
    return kind
