"""``read_age``: the age in years that an answer commits itself to.

Every number of a statement has a role: an age with its unit or after a word such as "about", one end of a range or a
bound, a decade, or none at all (steps, counts, percent, other people's ages). A stated age counts before a range, a
range before a decade, and a bound only where nothing better is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from facekit.answers.languages.numbers import digits_for_words
from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.readers.age_mentions import (
    BARE,
    BEFORE,
    BEHIND,
    BOUND,
    GUESSED,
    NUMBER,
    OLDEST,
    RANGE,
    SETTLED,
    STATED,
    Age,
    ages_of,
    decades_of,
    ranges_of,
)
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

_SHARE = re.compile(r"(\d{1,3}(?:[.,]\d+)?)\s?(%)?")
_YEARS = r"(?:\s?(?:years?|jahre|años|ans|anos))?"
_OPERATOR = r"\s*(?:\+|-|\*|×|plus|minus|más|menos|mais|moins|und)\s*"
_EQUALS = r"\s*(?:=|equals|makes|gives|ergibt|macht|font|son|são)\s*(?:about |around |~ ?)?"
_CALCULATED = re.compile(
    rf"(?<![\d.])\d{{1,4}}(?:\.\d+)?{_YEARS}(?:{_OPERATOR}\d{{1,4}}(?:\.\d+)?{_YEARS}){{1,12}}{_EQUALS}(?P<result>\d{{1,3}})"
)
_PICTOGRAM = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff]")


WIDEST = 50.0
"""Years; a range that is wider, from 5 to 65 or 35 ± 30, commits itself to no age."""
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

    Examples:
        >>> from facekit.answers import read_age
        >>> read_age("She is in her thirties.").value
        35.0
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
        number = NUMBER.fullmatch(statement.value.strip())
        for name in ("age_low", "age_high"):
            if number and statement.key and vocabulary.words("keys", name).fullmatch(statement.key):
                ends[name], span = float(number[1]), f"{span}, {statement.source}".strip(", ")
        exact = vocabulary.words("keys", "age_exact").fullmatch(statement.key) if statement.key else None
        if exact and number:
            return None
    if len(ends) < 2 or not ends["age_low"] < ends["age_high"] <= OLDEST:
        return None
    if ends["age_high"] - ends["age_low"] > WIDEST:
        return Outcome(None, Rank.FIELD, Rule.CONTRADICTORY, span)
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
        found = [*decades_of(clauses, taken), *ranges_of(clauses, taken)]
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
    found = list(ages_of(clauses, is_field=mark not in (None, Rank.ASIDE)))
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


def _is_indefinite(found: Sequence[Age], best: Age, clauses: Clauses) -> bool:
    """Whether a statement names a range of all of life, several ages alike, or stages of life one after the other."""
    if best.width > WIDEST:
        return True
    if best.kind == SETTLED:
        return False
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


def _rank(clauses: Clauses, statement: Statement, found: Age, number: int) -> Rank:
    vocabulary, text = clauses.vocabulary, clauses.text
    clause = text[max(0, found.start - 2 * BEFORE) : found.end + BEHIND]
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


__all__: Sequence[str] = ["OLDEST", "read_age"]
