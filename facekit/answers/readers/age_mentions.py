"""``ages_of``: each age that a statement names: stated, guessed, a range, a decade, a bound, or a bare number."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.text.claims import Clauses

OLDEST = 120.0
"""Ages above this many years are not read as ages."""

NUMBER = re.compile(r"(?<![\d.,/-])(?<![a-z])(\d{1,3})(?:[.,](\d{1,2}))?(?![\d])(?![.,]\d)(?!/\d)")
_RANGED = re.compile(r"(?<![\d.,/])(?<![a-z])(\d{1,3})(?![\d])")
_APART = re.compile(r"[\s,;(]*")
_COLON, _LAST = re.compile(r"(?:\w\s?:|=)\s*$"), re.compile(r"[\s.!)]*$")
BEFORE, BEHIND = 48, 40
"""Characters before and behind a number that say what it is."""


@dataclass(frozen=True)
class Age:
    """An age in a statement: its years, how well it is stated (the lower the better), and of a range its width."""

    years: float
    kind: int
    start: int
    end: int
    width: float = 0.0


_MIDDLE = 5.0
_TEENS = {2.0: 13.5, _MIDDLE: 16.0, 8.0: 18.0}
"""Years of the early, middle and late teens, by the offset of such a word in a decade."""
SETTLED, STATED, GUESSED, RANGE, DECADE, BOUND, BARE = range(7)


def ages_of(clauses: Clauses, *, is_field: bool) -> Iterator[Age]:
    """Every age of a statement."""
    vocabulary = clauses.vocabulary
    tolerances: list[tuple[int, float]] = []
    for pattern in vocabulary.compiled("ages", "tolerance"):
        tolerances += [(match.start(), _tolerated(match)) for match in pattern.finditer(clauses.text)]
        clauses = Clauses(pattern.sub(lambda match: " " * len(match[0]), clauses.text), vocabulary)
    text = clauses.text
    taken = bytearray(len(text) + 1)
    found = [*_small(clauses, taken), *decades_of(clauses, taken), *ranges_of(clauses, taken)]
    found += _numbers(clauses, taken, is_field=is_field)
    for each in found:
        denied = each.kind != BOUND and clauses.is_denied(each.start, each.end)
        if 0.0 <= each.years <= OLDEST and not denied and not _is_other(clauses, each):
            yield replace(each, width=max(each.width, _width_by(tolerances, text, each)))


def _tolerated(match: re.Match[str]) -> float:
    number = re.search(r"\d+", match[0])
    return float(number[0]) if number is not None else 0.0


def _width_by(tolerances: Sequence[tuple[int, float]], text: str, found: Age) -> float:
    """The years from one end of a tolerance to the other, where one stands right behind an age: "35 ± 3"."""
    behind = [years for start, years in tolerances if start >= found.end and _APART.fullmatch(text, found.end, start)]
    return 2 * max(behind, default=0.0)


def _is_other(clauses: Clauses, found: Age) -> bool:
    """Whether an age is said of another person in the clause that it stands in."""
    clause = clauses.text[clauses.clause_start(found.start) : clauses.clause_end(found.end)]
    begin = clauses.text[clauses.clause_start(found.start) : found.start]
    return bool(clauses.vocabulary.raw("others").search(begin) and len(clause) < len(clauses.text))


def _small(clauses: Clauses, taken: bytearray) -> Iterator[Age]:
    """Months, weeks and days."""
    for unit, parts in (("months", 12.0), ("weeks", 52.0), ("days", 365.0)):
        behind = clauses.vocabulary.raw("ages", unit)
        for match in NUMBER.finditer(clauses.text):
            unit_match = behind.match(clauses.text, match.end())
            if unit_match is not None and not any(taken[match.start() : match.end()]):
                _take(taken, match.start(), unit_match.end())
                yield Age(_years(match) / parts, STATED, match.start(), unit_match.end())


def decades_of(clauses: Clauses, taken: bytearray) -> Iterator[Age]:
    """Decades such as "early 30s" and "in his thirties", and two of them as a range."""
    vocabulary, text = clauses.vocabulary, clauses.text
    decade = vocabulary.raw("ages", "decade")
    found: list[Age] = []
    for match in _RANGED.finditer(text):
        if int(match[1]) % 10 or not 10 <= int(match[1]) <= 100:
            continue
        behind = decade.match(text, match.end())
        before = text[max(0, match.start() - BEFORE) : match.start()]
        ahead = vocabulary.raw("ages", "decade_before").search(before)
        if behind is None and ahead is None:
            continue
        if vocabulary.raw("ages", "years_ago").match(text, match.end()):
            continue
        end = behind.end() if behind else match.end()
        offset, start = _part(vocabulary, before, match.start(), text[end : end + 14])
        base = float(match[1]) if match[1] != "10" or offset != 5.0 else 11.0
        found.append(Age(base + offset, DECADE, start, end))
    for match in vocabulary.words("ages", "teens").finditer(text):
        before = text[max(0, match.start() - BEFORE) : match.start()]
        offset, start = _part(vocabulary, before, match.start(), text[match.end() : match.end() + 14])
        years = _TEENS[offset] if start < match.start() or offset != _MIDDLE else _TEENS[_MIDDLE]
        found.append(Age(years, DECADE, start, match.end()))
    found.sort(key=lambda each: each.start)
    skip = -1
    for index, each in enumerate(found):
        _take(taken, each.start, each.end)
        if index == skip:
            continue
        if index + 1 < len(found) and _joins(vocabulary, text[each.end : found[index + 1].start]):
            skip = index + 1
            after = found[skip]
            width = abs(after.years - each.years)
            yield Age((each.years + after.years) / 2, RANGE, each.start, after.end, width)
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


def ranges_of(clauses: Clauses, taken: bytearray) -> Iterator[Age]:
    """Ranges such as "30 to 40", by their middles; what counts something is taken without an age."""
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
        before = text[max(0, first.start() - BEFORE) : first.start()]
        if _is_counted(vocabulary, text, second.end()) or vocabulary.raw("ages", "not_before").search(before):
            _take(taken, first.start(), second.end())
            continue
        _take(taken, first.start(), second.end())
        yield Age((low + high) / 2, RANGE, first.start(), second.end(), high - low)


def _numbers(clauses: Clauses, taken: bytearray, *, is_field: bool) -> Iterator[Age]:
    vocabulary, text = clauses.vocabulary, clauses.text
    for match in NUMBER.finditer(text):
        start, end = match.start(), match.end()
        if any(taken[start:end]):
            continue
        before = text[max(0, start - BEFORE) : start]
        if _is_counted(vocabulary, text, end) or vocabulary.raw("ages", "not_before").search(before):
            continue
        unit = vocabulary.raw("ages", "years").match(text, end)
        last = unit.end() if unit is not None else end
        behind = text[last : last + BEHIND]
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
        yield Age(_years(match), kind, start, last)


def _is_counted(vocabulary: Vocabulary, text: str, end: int) -> bool:
    """Whether a number counts something, or is a percentage."""
    return vocabulary.raw("ages", "not_after").match(text, end) is not None


def _years(match: re.Match[str]) -> float:
    return float(f"{match[1]}.{match[2]}") if match[2] else float(match[1])


def _take(taken: bytearray, start: int, end: int) -> None:
    taken[start:end] = b"\x01" * (end - start)
