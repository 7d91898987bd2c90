"""``read_age``: the age in years that an answer commits itself to.

Every number of a statement has a role: an age with its unit or after a word such as "about", one end of a range or a
bound, a decade, or none at all (steps, counts, percent, other people's ages). A stated age counts before a range, a
range before a decade, and a bound only where nothing better is said.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from facekit.answers.languages.numbers import digits_for_words
from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.readers.shape import (
    RULES,
    Outcome,
    Rank,
    final_part,
    group_of,
    is_conclusion,
    is_undecided,
    mark_of,
    read_answer,
    strongest,
)
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Clauses
from facekit.answers.text.statements import Answer, Statement

OLDEST = 120.0
"""Ages above this many years are not read as ages."""

_NUMBER = re.compile(r"(?<![\d.,/-])(?<![a-z])(\d{1,3})(?:[.,](\d{1,2}))?(?![\d])(?![.,]\d)(?!/\d)")
_RANGED = re.compile(r"(?<![\d.,/])(?<![a-z])(\d{1,3})(?![\d])")
_SHARE = re.compile(r"(\d{1,3}(?:[.,]\d+)?)\s?(%)?")
_YEARS = r"(?:\s?(?:years?|jahre|años|ans|anos))?"
_OPERATOR = r"\s*(?:\+|-|\*|×|plus|minus|más|menos|mais|moins|und)\s*"
_EQUALS = r"\s*(?:=|equals|makes|gives|ergibt|macht|font|son|são)\s*(?:about |around |~ ?)?"
_CALCULATED = re.compile(
    rf"(?<![\d.])\d{{1,4}}(?:\.\d+)?{_YEARS}(?:{_OPERATOR}\d{{1,4}}(?:\.\d+)?{_YEARS}){{1,12}}{_EQUALS}(?P<result>\d{{1,3}})"
)
_COLON, _LAST = re.compile(r"(?:\w\s?:|=)\s*$"), re.compile(r"[\s.!)]*$")
_PICTOGRAM = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff]")
_BEFORE, _BEHIND = 48, 40


@dataclass(frozen=True)
class _Found:
    """An age in a statement: its years, and how well it is stated (the lower the better)."""

    years: float
    kind: int
    start: int
    end: int
    width: float = 0.0


_MIDDLE = 5.0
_TEENS = {2.0: 13.5, _MIDDLE: 16.0, 8.0: 18.0}
"""Years of the early, middle and late teens, by the offset of such a word in a decade."""
SETTLED, STATED, GUESSED, RANGE, DECADE, BOUND, BARE = range(7)
WIDEST = 50.0
"""Years; a range that is wider commits itself to no age."""
_FAR_APART = 10.0
MOST_AGES = 2
"""Different ages that a statement may name without saying which of them it means."""


def read_age(text: str) -> Reading[float]:
    """Read an age in years from digits, number words, decades, ranges or bounds.

    A range gives its middle, "early thirties" 32, "thirties" 35, "late thirties" 38, "teens" 16; a bound counts where
    no better guess stands beside it ("older than 30, maybe 36" is 36). What is denied ("not 40") does not count.

    Args:
        text: The answer.

    Returns:
        Years between 0 and ``OLDEST``.
    """
    return read_answer(text, _read)


def _read(answer: Answer, vocabulary: Vocabulary) -> Reading[float]:
    outcomes = [_outcome(statement, vocabulary, number) for number, statement in enumerate(answer.statements)]
    outcomes += [_bounds(answer, vocabulary), _likeliest_bin(answer, vocabulary)]
    return strongest(outcomes, answer, vocabulary)


def _bounds(answer: Answer, vocabulary: Vocabulary) -> Outcome[float] | None:
    """The middle of ``{"min": 30, "max": 40}``, where no field has the age itself."""
    ends: dict[str, float] = {}
    span = ""
    for statement in answer.statements:
        number = _NUMBER.fullmatch(statement.value.strip())
        for name in ("age_low", "age_high"):
            if number and statement.key and vocabulary.words("keys", name).fullmatch(statement.key):
                ends[name], span = float(number[1]), f"{span}, {statement.source}".strip(", ")
        exact = vocabulary.words("keys", "age_exact").fullmatch(statement.key) if statement.key else None
        if exact and number:
            return None
    if len(ends) < 2 or not ends["age_low"] < ends["age_high"] <= OLDEST:
        return None
    return Outcome((ends["age_low"] + ends["age_high"]) / 2, Rank.FIELD, Rule.FIELD, span)


def _likeliest_bin(answer: Answer, vocabulary: Vocabulary) -> Outcome[float] | None:
    """The middle of the age group with the highest share: "20-29: 10 %, 30-39: 70 %"."""
    bins: list[tuple[float, float, str]] = []
    for statement in answer.statements:
        share = _SHARE.fullmatch(statement.value.strip(" ."))
        if share is None or not statement.key:
            continue
        clauses = Clauses(digits_for_words(statement.key, vocabulary), vocabulary)
        taken = bytearray(len(clauses.text) + 1)
        found = [*_decades(clauses, taken), *_ranges(clauses, taken)]
        if len(found) == 1:
            value = float(share[1].replace(",", "."))
            bins.append((value if share[2] else 100 * value, found[0].years, statement.source))
    bins.sort(key=lambda each: each[0], reverse=True)
    if len(bins) < 2:
        return None
    if bins[0][0] == bins[1][0]:
        return Outcome(None, Rank.SCORES, Rule.CONTRADICTORY, bins[0][2])
    return Outcome(bins[0][1], Rank.SCORES, Rule.SCORES, bins[0][2])


def _outcome(statement: Statement, vocabulary: Vocabulary, number: int) -> Outcome[float] | None:
    mark = mark_of(statement, vocabulary, "age")
    key = statement.key
    if key and any(vocabulary.words("keys", end).fullmatch(key) for end in ("age_low", "age_high")):
        return None
    is_exact = bool(key) and vocabulary.words("keys", "age_exact").fullmatch(key) is not None
    text, is_final = final_part(statement.text, vocabulary)
    if mark not in (None, Rank.ASIDE):
        text = statement.value or text
    elif is_final and mark is None:
        mark = Rank.FIELD
    text = digits_for_words(_PICTOGRAM.sub(" ", text), vocabulary)
    clauses = Clauses(_CALCULATED.sub(_result, text), vocabulary)
    found = list(_ages(clauses, is_field=mark not in (None, Rank.ASIDE)))
    if not found:
        said_nothing = is_undecided(clauses.text, vocabulary)
        return Outcome(None, mark or Rank.UNDECIDED, Rule.UNDECIDED, statement.source) if said_nothing else None
    best = min(found, key=lambda each: (each.kind, each.start))
    if _is_indefinite(found, best, clauses):
        return Outcome(None, mark or Rank.STATEMENT, Rule.CONTRADICTORY, statement.source)
    rank = mark or _rank(clauses, statement, best, number)
    if mark is Rank.FIELD and is_exact and best.kind is not RANGE:
        rank = Rank.FINAL
    group = group_of(statement, mark, is_bare=len(clauses.text) < 12) if best.kind in (STATED, GUESSED, BARE) else None
    return Outcome(best.years, rank, RULES[rank], statement.source, group)


def _is_indefinite(found: Sequence[_Found], best: _Found, clauses: Clauses) -> bool:
    """Whether a statement names a range of all of life, several ages alike, or stages of life one after the other."""
    if best.kind == SETTLED:
        return False
    if best.kind in (RANGE, DECADE) and best.width > WIDEST:
        return True
    alike = {
        each.years
        for each in found
        if each.kind in (STATED, GUESSED, BARE, BOUND) and each.kind <= max(best.kind, BARE)
    }
    stages = {match.lower() for match in clauses.vocabulary.words("ages", "stages").findall(clauses.text)}
    if len(stages) > MOST_AGES or (len(alike) > MOST_AGES and best.kind != RANGE):
        return True
    maybe = clauses.vocabulary.words("modal").findall(clauses.text)
    years = [each.years for each in found]
    return len(maybe) > 1 and max(years) - min(years) > _FAR_APART


def _result(match: re.Match[str]) -> str:
    """What a calculation comes to, in its place."""
    return match["result"].rjust(len(match[0]))


def _rank(clauses: Clauses, statement: Statement, found: _Found, number: int) -> Rank:
    vocabulary, text = clauses.vocabulary, clauses.text
    clause = text[max(0, found.start - 2 * _BEFORE) : found.end + _BEHIND]
    if vocabulary.raw("ages", "general").search(clause) or vocabulary.raw("others").search(clause):
        return Rank.ASIDE
    if is_conclusion(text, vocabulary):
        return Rank.CONCLUSION
    rest = len(re.sub(r"[\W\d]", "", text[: found.start] + text[found.end :]))
    if rest <= 14 and (number == 0 or statement.is_alone):
        return Rank.CONCLUSION
    if found.kind in (BARE, BOUND):
        return Rank.MENTION
    return Rank.SUBJECT if vocabulary.words("ages", "frames").search(text) else Rank.STATEMENT


def _ages(clauses: Clauses, *, is_field: bool) -> Iterator[_Found]:
    """Every age of a statement."""
    vocabulary = clauses.vocabulary
    for pattern in vocabulary.compiled("ages", "tolerance"):
        clauses = Clauses(pattern.sub(lambda match: " " * len(match[0]), clauses.text), vocabulary)
    text = clauses.text
    taken = bytearray(len(text) + 1)
    found = [*_small(clauses, taken), *_decades(clauses, taken), *_ranges(clauses, taken)]
    found += _numbers(clauses, taken, is_field=is_field)
    for each in found:
        denied = each.kind != BOUND and clauses.is_denied(each.start, each.end)
        if 0.0 <= each.years <= OLDEST and not denied and not _is_other(clauses, each):
            yield each


def _is_other(clauses: Clauses, found: _Found) -> bool:
    """Whether an age is said of another person in the clause that it stands in."""
    clause = clauses.text[clauses.clause_start(found.start) : clauses.clause_end(found.end)]
    begin = clauses.text[clauses.clause_start(found.start) : found.start]
    return bool(clauses.vocabulary.raw("others").search(begin) and len(clause) < len(clauses.text))


def _small(clauses: Clauses, taken: bytearray) -> Iterator[_Found]:
    """Months, weeks and days."""
    for unit, parts in (("months", 12.0), ("weeks", 52.0), ("days", 365.0)):
        behind = clauses.vocabulary.raw("ages", unit)
        for match in _NUMBER.finditer(clauses.text):
            unit_match = behind.match(clauses.text, match.end())
            if unit_match is not None and not any(taken[match.start() : match.end()]):
                _take(taken, match.start(), unit_match.end())
                yield _Found(_years(match) / parts, STATED, match.start(), unit_match.end())


def _decades(clauses: Clauses, taken: bytearray) -> Iterator[_Found]:
    """Decades such as "early 30s" and "in his thirties", and two of them as a range."""
    vocabulary, text = clauses.vocabulary, clauses.text
    decade = vocabulary.raw("ages", "decade")
    found: list[_Found] = []
    for match in _RANGED.finditer(text):
        if int(match[1]) % 10 or not 10 <= int(match[1]) <= 100:
            continue
        behind = decade.match(text, match.end())
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        ahead = vocabulary.raw("ages", "decade_before").search(before)
        if behind is None and ahead is None:
            continue
        if vocabulary.raw("ages", "years_ago").match(text, match.end()):
            continue
        end = behind.end() if behind else match.end()
        offset, start = _part(vocabulary, before, match.start(), text[end : end + 14])
        base = float(match[1]) if match[1] != "10" or offset != 5.0 else 11.0
        found.append(_Found(base + offset, DECADE, start, end))
    for match in vocabulary.words("ages", "teens").finditer(text):
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        offset, start = _part(vocabulary, before, match.start(), text[match.end() : match.end() + 14])
        years = _TEENS[offset] if start < match.start() or offset != _MIDDLE else _TEENS[_MIDDLE]
        found.append(_Found(years, DECADE, start, match.end()))
    found.sort(key=lambda each: each.start)
    skip = -1
    for index, each in enumerate(found):
        _take(taken, each.start, each.end)
        if index == skip:
            continue
        if index + 1 < len(found) and _joins(vocabulary, text[each.end : found[index + 1].start]):
            skip = index + 1
            after = found[skip]
            yield _Found((each.years + after.years) / 2, RANGE, each.start, after.end)
        else:
            yield each


def _joins(vocabulary: Vocabulary, between: str) -> bool:
    return len(between) < 24 and vocabulary.raw("ages", "ranges").match(between) is not None


def _part(vocabulary: Vocabulary, before: str, start: int, behind: str) -> tuple[float, int]:
    """How far into a decade, and where its words begin."""
    for name, offset in (("early", 2.0), ("late", 8.0), ("mid", 5.0)):
        match = vocabulary.raw("ages", name).search(before)
        if match is not None:
            return offset, start - len(before) + match.start()
        if vocabulary.raw("ages", f"{name}_behind").match(behind):
            return offset, start
    return 5.0, start


def _ranges(clauses: Clauses, taken: bytearray) -> Iterator[_Found]:
    vocabulary, text = clauses.vocabulary, clauses.text
    joint = vocabulary.raw("ages", "ranges")
    numbers = list(_RANGED.finditer(text))
    for first, second in itertools.pairwise(numbers):
        between = text[first.end() : second.start()]
        unit = vocabulary.raw("ages", "years").match(between)
        between = between[unit.end() :] if unit is not None else between
        low, high = int(first[1]), int(second[1])
        if high < low and high < 10 <= low:
            high += low - low % 10
        joined = joint.fullmatch(between)
        if joined is None or any(taken[first.start() : second.end()]) or not low < high:
            continue
        before = text[max(0, first.start() - _BEFORE) : first.start()]
        if _is_counted(vocabulary, text, second.end()) or vocabulary.raw("ages", "not_before").search(before):
            _take(taken, first.start(), second.end())
            continue
        _take(taken, first.start(), second.end())
        yield _Found((low + high) / 2, RANGE, first.start(), second.end(), high - low)


def _numbers(clauses: Clauses, taken: bytearray, *, is_field: bool) -> Iterator[_Found]:
    vocabulary, text = clauses.vocabulary, clauses.text
    for match in _NUMBER.finditer(text):
        start, end = match.start(), match.end()
        if any(taken[start:end]):
            continue
        before = text[max(0, start - _BEFORE) : start]
        if _is_counted(vocabulary, text, end) or vocabulary.raw("ages", "not_before").search(before):
            continue
        unit = vocabulary.raw("ages", "years").match(text, end)
        last = unit.end() if unit is not None else end
        behind = text[last : last + _BEHIND]
        bounded = any(vocabulary.raw("ages", side).search(before) for side in ("over", "under")) or any(
            vocabulary.raw("ages", side).match(behind) for side in ("plus", "minus")
        )
        followed = unit is not None or vocabulary.raw("ages", "followed").match(text, end) is not None
        settled = vocabulary.raw("ages", "settled").search(before) is not None
        if bounded and not settled:
            kind = BOUND
        elif settled or (_COLON.search(before) and _LAST.match(text, last)):
            kind = SETTLED
        elif vocabulary.raw("ages", "aged").search(before) or (unit is not None):
            kind = STATED
        elif not followed:
            continue
        elif vocabulary.raw("ages", "guess").search(before) or is_field:
            kind = GUESSED
        else:
            kind = BARE
        yield _Found(_years(match), kind, start, last)


def _is_counted(vocabulary: Vocabulary, text: str, end: int) -> bool:
    """Whether a number counts something, or is a percentage."""
    return vocabulary.raw("ages", "not_after").match(text, end) is not None


def _years(match: re.Match[str]) -> float:
    return float(f"{match[1]}.{match[2]}") if match[2] else float(match[1])


def _take(taken: bytearray, start: int, end: int) -> None:
    taken[start:end] = b"\x01" * (end - start)


__all__: Sequence[str] = ["OLDEST", "read_age"]
