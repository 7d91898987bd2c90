"""``Words``: entries of a vocabulary as one pattern, which is looked for only where a text has the letters it needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator

NOTHING = re.compile(r"(?!)")
_LETTER = "a-z0-9\u00c0-\u024f"
_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff々]")


class Words:
    """A pattern for any of some words, which first looks for letters that one of them must have; most texts lack all.

    It has the methods of a compiled pattern that the readers use.

    Args:
        entries: The words, longest first; those of Latin letters are matched whole.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        written = sorted(set(entries), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_entry, written))) if written else NOTHING
        letters = {_needed_letters(word) for word in written}
        shortest = sorted(letters, key=len)
        self._needed = None if "" in letters else tuple(
            each for place, each in enumerate(shortest) if not any(other in each for other in shortest[:place])
        )  # fmt: skip

    @property
    def pattern(self) -> str:
        """The regular expression."""
        return self._pattern.pattern

    def _may_be_in(self, text: str) -> bool:
        return self._needed is None or any(letters in text for letters in self._needed)

    def search(self, text: str, start: int = 0, end: int = sys.maxsize) -> re.Match[str] | None:
        """The first of the words in a part of a text."""
        return self._pattern.search(text, start, end) if self._may_be_in(text) else None

    def finditer(self, text: str, start: int = 0, end: int = sys.maxsize) -> Iterator[re.Match[str]]:
        """Each of the words in a part of a text."""
        return self._pattern.finditer(text, start, end) if self._may_be_in(text) else iter(())

    def findall(self, text: str) -> list[str]:
        """The words that a text has."""
        return [match[0] for match in self.finditer(text)]

    def match(self, text: str, start: int = 0) -> re.Match[str] | None:
        """One of the words at a place of a text."""
        return self._pattern.match(text, start) if self._may_be_in(text) else None

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """A text that is one of the words."""
        return self._pattern.fullmatch(text) if self._may_be_in(text) else None

    def sub(self, replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
        """A text with something in place of each of the words."""
        return self._pattern.sub(replacement, text) if self._may_be_in(text) else text


Finder = re.Pattern[str] | Words
"""What finds a label in a text."""


def compile_words(words: Iterable[str]) -> Words:
    """One pattern for any of the entries, longest first; words of Latin letters are matched whole."""
    return Words(words)


def _needed_letters(entry: str) -> str:
    """The longest run of letters that every match of an entry has; empty where none is sure."""
    best, run, place, depth = "", "", 0, 0
    while place < len(entry):
        mark, behind = entry[place], entry[place + 1 : place + 2]
        if mark == "[":
            place = entry.index("]", place + 1)
        elif mark == "{":
            place = entry.index("}", place)
        elif mark == "\\":
            place += 1
        elif mark in "()":
            depth += 1 if mark == "(" else -1
        elif depth == 0 and mark == "|":
            return ""
        elif depth == 0 and mark not in " .?*+^$" and (not behind or behind not in "?*{"):
            run += mark
            best = max(best, run, key=len)
            place += 1
            continue
        run = ""
        place += 1
    return best


def _entry(word: str) -> str:
    spaced = re.sub(r" (\??)", lambda gap: f"[ -]{gap[1] or '+'}", word)
    if _IDEOGRAPHS.search(word):
        return f"(?:{spaced})"
    after = "" if word.endswith("'") else f"(?![{_LETTER}])"
    return f"(?<![{_LETTER}])(?:{spaced}){after}"
