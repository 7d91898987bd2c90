"""``digits_for_words``: number words of a language as digits: "thirty-five", "fünfunddreißig", "三十五"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from facekit.answers.languages.vocabulary import Vocabulary, load_vocabulary

_HAN_DIGITS = {mark: value for value, mark in enumerate("〇一二三四五六七八九")} | {"零": 0, "两": 2, "兩": 2}
_HAN = re.compile(r"[〇零一二两兩三四五六七八九十百]{1,5}")


def digits_for_words(text: str, vocabulary: Vocabulary) -> str:
    """A normalised text with its number words, up to a hundred and a little, as digits."""
    if vocabulary.name in ("zh", "ja"):
        text = _HAN.sub(_han, text)
    pattern, values = _words(vocabulary.name)
    return pattern.sub(lambda match: values[re.sub(r"[ -]+", " ", match[0])], text)


def _han(match: re.Match[str]) -> str:
    """The number, where it has a ten in it or a unit behind it that ages have; else the words as they are."""
    written, behind = match[0], match.string[match.end() : match.end() + 2]
    if len(written) == 1 and written != "十" and behind[:1] not in ("岁", "歲", "歳", "才", "个", "個", "か", "ヶ"):
        return written
    if written == "十" and behind[:1] in ("分", "字"):
        return written
    value = 0
    held = 0
    for mark in written:
        if mark == "百":
            value, held = value + (held or 1) * 100, 0
        elif mark == "十":
            value, held = value + (held or 1) * 10, 0
        else:
            held = held * 10 + _HAN_DIGITS[mark] if "十" not in written and "百" not in written else _HAN_DIGITS[mark]
    return str(value + held)


@cache
def _words(name: str) -> tuple[re.Pattern[str], dict[str, str]]:
    vocabulary = load_vocabulary(name)
    units, tens = vocabulary.entries("numbers", "units") or {}, vocabulary.entries("numbers", "tens") or {}
    values: dict[str, int] = {}
    for form in vocabulary.entries("numbers", "compound"):
        for ten, decade in tens.items():
            for unit, number in units.items():
                if 0 < number < (20 if decade in (60, 80) and name == "fr" else 10) and decade < 100:
                    written = form.replace("{tens}", ten).replace("{units}", unit)
                    values.setdefault(written, decade + number)
    spelled = {**values, **(vocabulary.entries("numbers", "special") or {}), **tens, **units}
    spelled = {word.replace("-", " "): str(value) for word, value in spelled.items()}
    decades = {word: f"{decade}s" for word, decade in (vocabulary.entries("numbers", "plurals") or {}).items()}
    ends = r"(?:(?=jährig)|(?![a-zà-ɏ]|-(?!j[äa]hr|year|something|ish)))"
    pattern = rf"(?:(?<![a-zà-ɏ-])(?:{_any(spelled)})|(?<![a-zà-ɏ])(?:{_any(decades)})){ends}"
    return re.compile(pattern), spelled | decades


def _any(words: Iterable[str]) -> str:
    """A pattern for any of the words, longest first; their spaces match hyphens too."""
    return "|".join(re.escape(word).replace(r"\ ", "[ -]") for word in sorted(words, key=len, reverse=True)) or "(?!)"
