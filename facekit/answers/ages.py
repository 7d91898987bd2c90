"""Reading an age out of a free-text answer: digits, number words, decades, ranges and months.

Apart from the other parsers because ages are read by their own small grammar of numbers rather than by a vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from facekit.answers.mentions import is_denied, normalise_answer
from facekit.answers.vocabulary import DECADE_WORDS, NUMBER_WORDS

OLDEST = 120.0
"""Ages above this many years are not read as ages."""

_TOLERANCE = re.compile(r"(?:±|\+ ?/? ?-|plus or minus|plus/minus|give or take)\s*\d+(?:\.\d+)?(?:\s*(?:years?|yrs?))?")


def parse_age(text: str) -> float | None:
    """Read an age in years from digits, number words, decades or ranges.

    A range gives its middle, "early thirties" 32, "thirties" 35, "late thirties" 38, "teens" 16. An explicit "35 years
    old" counts before a range beside it, and what is denied ("not 40") does not count.

    Returns:
        Years between 0 and ``OLDEST``, or None.
    """
    text = _TOLERANCE.sub("", _digits_for_words(normalise_answer(text)))
    for reader in (_stated_months, _stated_years, _decade, _age_range, _first_number):
        for start, end, years in reader(text):
            if 0.0 <= years <= OLDEST and not is_denied(text, start, end):
                return years
    return None


def _digits_for_words(text: str) -> str:
    decades = "|".join(DECADE_WORDS)
    units = "|".join(list(NUMBER_WORDS)[1:10])
    text = re.sub(
        rf"\b({decades})[ -]({units})\b", lambda match: str(DECADE_WORDS[match[1]] + NUMBER_WORDS[match[2]]), text
    )
    plurals = {name[:-1] + "ies": value for name, value in DECADE_WORDS.items()}
    text = re.sub(rf"\b({'|'.join(plurals)})\b", lambda match: f"{plurals[match[1]]}s", text)
    text = re.sub(rf"\b({decades})\b", lambda match: str(DECADE_WORDS[match[1]]), text)
    large = "|".join(list(NUMBER_WORDS)[10:])
    text = re.sub(rf"\b({large})\b", lambda match: str(NUMBER_WORDS[match[1]]), text)
    return re.sub(
        rf"(?<![\w-])({'|'.join(NUMBER_WORDS)})(?=[ -](?:years?|months?)\b|\.?$)",
        lambda match: str(NUMBER_WORDS[match[1]]),
        text,
    )


def _stated_months(text: str) -> Iterable[tuple[int, int, float]]:
    for match in re.finditer(r"\b(\d{1,2})[ -]months?\b", text):
        yield match.start(), match.end(), int(match[1]) / 12


def _stated_years(text: str) -> Iterable[tuple[int, int, float]]:
    number = r"(?<![\d.-])(\d{1,3}(?:\.\d+)?)"
    not_a_range = r"(?<!to )(?<!and )(?<!or )(?<!- )"
    for pattern in (
        rf"{not_a_range}{number}[ -]*(?:years?|yrs?|y/o|yo)\b",
        rf"\b(?:aged?|age (?:is|of|:)|age is (?:about|around|roughly)|age:|aged (?:about|around))\s*{number}"
        r"(?!\d|\s*(?:-|to|and)\s*\d|'?s\b)",
    ):
        for match in re.finditer(pattern, text):
            yield match.start(), match.end(), float(match[1])


def _decade(text: str) -> Iterable[tuple[int, int, float]]:
    offsets = {"early": 2.0, "mid": 5.0, "middle": 5.0, "late": 8.0, None: 5.0}
    for match in re.finditer(r"(?:\b(early|mid|middle|late)[ -]+(?:of )?)?(?:her |his |their )?\b([1-9]0)'?s\b", text):
        yield match.start(), match.end(), int(match[2]) + offsets[match[1]]
    teens = {"early": 13.5, "mid": 15.0, "middle": 15.0, "late": 18.0, None: 16.0}
    for match in re.finditer(r"(?:\b(early|mid|middle|late)[ -]+)?\b(?:teens|teenager|teenaged?)\b", text):
        yield match.start(), match.end(), teens[match[1]]


def _age_range(text: str) -> Iterable[tuple[int, int, float]]:
    for match in re.finditer(r"(?<![\d.])(\d{1,3})\s*(?:-|to|and|or|~)\s*(\d{1,3})(?![\d.]*\d)", text):
        low, high = int(match[1]), int(match[2])
        if low < high:
            yield match.start(), match.end(), (low + high) / 2


def _first_number(text: str) -> Iterable[tuple[int, int, float]]:
    for match in re.finditer(r"(?<![\d.a-z])(\d{1,3}(?:\.\d+)?)(?![\d%])(?! *(?:%|percent|points|landmarks))", text):
        yield match.start(), match.end(), float(match[1])
