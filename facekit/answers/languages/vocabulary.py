"""Words of one language, compiled: labels, yes and no, denials, hedges, numbers and the marks of a final answer.

The words are in ``NAME.yaml`` beside this file; ``shared.yaml`` has what belongs to no language. An entry is a regular
expression for whole words of lower-case text; a space in it matches spaces and hyphens. Every other language is read
together with English, whose labels models write in answers of any language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from importlib import resources
from typing import Any

import yaml

from facekit.answers.languages.words import NOTHING, Words, compile_words

LANGUAGES = ("en", "de", "es", "fr", "pt", "zh", "ja")
_MOST_REWRITTEN = 256
"""Texts that a vocabulary keeps rewritten: the readers ask for the statements of an answer several times."""


class Vocabulary:
    """What the readers know of a language.

    Args:
        name: The language.
        tables: Its file, put together with those that it is read with.
    """

    def __init__(self, name: str, tables: Mapping[str, Any]) -> None:
        self.name, self._tables = name, tables
        self._words: dict[tuple[str, ...], Words] = {}
        self._patterns: dict[tuple[str, ...], re.Pattern[str]] = {}
        self._labels: dict[tuple[str, ...], dict[str, Words]] = {}
        self._rewritten: dict[str, str] = {}
        self._lists: dict[tuple[str, ...], Sequence[re.Pattern[str]]] = {}

    def entries(self, *path: str) -> Any:
        """What stands under a path of keys; an empty list where there is nothing."""
        found: Any = self._tables
        for key in path:
            found = found.get(key, []) if isinstance(found, Mapping) else []
        return found

    def words(self, *path: str) -> Words:
        """The entries under a path as one pattern of whole words."""
        if path not in self._words:
            self._words[path] = compile_words(self.entries(*path))
        return self._words[path]

    def raw(self, *path: str) -> re.Pattern[str]:
        """The entries under a path as one pattern, as they are."""
        key = ("raw", *path)
        if key not in self._patterns:
            entries = self.entries(*path)
            self._patterns[key] = re.compile("|".join(f"(?:{each})" for each in entries)) if entries else NOTHING
        return self._patterns[key]

    def labels(self, *path: str) -> dict[str, Words]:
        """Label to its pattern, for a table of labels."""
        if path not in self._labels:
            table = self.entries(*path) or {}
            self._labels[path] = {name: compile_words(words) for name, words in table.items() if words}
        return self._labels[path]

    def compiled(self, *path: str) -> Sequence[re.Pattern[str]]:
        """The entries under a path, each a pattern of its own."""
        if path not in self._lists:
            self._lists[path] = tuple(map(re.compile, self.entries(*path)))
        return self._lists[path]

    def pattern(self, name: str, write: Callable[[Vocabulary], str]) -> re.Pattern[str]:
        """A pattern that is put together from several entries, compiled once under a name."""
        key = ("written", name)
        if key not in self._patterns:
            self._patterns[key] = re.compile(write(self))
        return self._patterns[key]

    def rewritten(self, text: str) -> str:
        """A text with what is read in place of its turns of phrase."""
        if text not in self._rewritten:
            if len(self._rewritten) >= _MOST_REWRITTEN:
                self._rewritten.clear()
            written = text
            for pattern, replacement in self.rewrites:
                written = pattern.sub(replacement, written)
            self._rewritten[text] = written
        return self._rewritten[text]

    @cached_property
    def rewrites(self) -> Sequence[tuple[re.Pattern[str], str]]:
        """Turns of phrase and what is read in their place."""
        return tuple((re.compile(pattern), replacement) for pattern, replacement in self.entries("rewrites"))


@cache
def load_vocabulary(name: str) -> Vocabulary:
    """The vocabulary of a language of ``LANGUAGES``, together with English and with what all share."""
    tables = _merge(_tables("shared"), _tables("en"))
    if name != "en":
        own = _tables(name)
        tables = _merge(_without(tables, own.get("not_english", {})), own)
    return Vocabulary(name, tables)


@cache
def common_words() -> Mapping[str, frozenset[str]]:
    """Per language of Latin letters the words that tell it."""
    return {name: frozenset(found) for name in LANGUAGES if (found := _tables(name).get("common", "").split())}


@cache
def yes_and_no(name: str) -> Words:
    """A language's own words for yes and no, which tell the language of a mere list of them."""
    return compile_words([*_tables(name).get("yes", ()), *_tables(name).get("no", ())])


@cache
def _tables(name: str) -> Mapping[str, Any]:
    text = (resources.files(__package__) / f"{name}.yaml").read_text(encoding="utf-8")
    loaded: Mapping[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


def _merge(first: Any, second: Any) -> Any:
    """Both tables: lists one after the other, the second first; of single values the second's."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {key: _merge(first.get(key), second.get(key)) for key in {**first, **second}}
    if isinstance(first, list) and isinstance(second, list):
        return [*second, *first]
    return first if second is None else second


def _without(tables: Any, taken: Any) -> Any:
    """Tables without some entries of their lists."""
    if isinstance(tables, Mapping) and isinstance(taken, Mapping):
        return {key: _without(value, taken.get(key)) for key, value in tables.items()}
    if isinstance(tables, list) and taken:
        return [each for each in tables if each not in taken]
    return tables
