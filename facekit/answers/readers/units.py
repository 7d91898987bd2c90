"""``read_action_units``: the action units that an answer says are active, by code, by number in a list, or by name."""

from __future__ import annotations

from collections.abc import Sequence

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.languages.words import Finder
from facekit.answers.readers.shape import (
    RULES,
    Rank,
    is_conclusion,
    is_undecided,
    mark_of,
    read_answer,
    verdict_of,
)
from facekit.answers.readers.unit_mentions import LISTED, VALUE, Unit, codes_of, units_of
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Clauses
from facekit.answers.text.discourse import takes_back
from facekit.answers.text.statements import Answer, Statement

ACTIVE_SHARE, ACTIVE_LEVEL = 0.5, 1.0
_HIGHEST_LEVEL = 5.0


def read_action_units(text: str) -> Reading[frozenset[str]]:
    """Read the action units that are said to be active.

    Numbers behind units are probabilities where none of them is above 1, percent where they say so or are above 5, and
    intensities from 0 to 5 otherwise; active is from a probability of 0.5, or an intensity of 1, on.

    Args:
        text: The answer.

    Returns:
        Codes such as ``{"AU6", "AU12"}``; empty where the answer says that there are none; None where it names none
        and does not say so.

    Examples:
        >>> from facekit.answers import read_action_units
        >>> sorted(read_action_units("AU6 and AU12 are active.").value)
        ['AU12', 'AU6']
    """
    return read_answer(text, _read)


def _read(answer: Answer, vocabulary: Vocabulary) -> Reading[frozenset[str]]:
    found: list[tuple[Rank, list[Unit], Statement]] = []
    empty: tuple[Rank, Statement] | None = None
    verdicts: dict[str, bool | None] = {}
    undecided = False
    for statement in answer.statements:
        if vocabulary.raw("others").search(statement.text) and statement.rule is Rule.STATEMENT:
            continue
        rank = mark_of(statement, vocabulary, "units") or _plain_rank(statement, vocabulary)
        units = list(units_of(statement, vocabulary))
        topic = _topic_verdict(statement, vocabulary, has_units=bool(units))
        verdicts.update(topic)
        if any(unit.is_open for unit in units):
            undecided = True
            units = [unit for unit in units if not unit.is_open]
        if units:
            found.append((rank, units, statement))
        elif topic:
            continue
        elif _says_none(statement, vocabulary, rank):
            empty = (rank, statement) if empty is None or rank >= empty[0] else empty
        else:
            undecided = undecided or is_undecided(statement.text, vocabulary)
    found = [each for each in found if each[0] is not Rank.ASIDE] or found
    if empty is not None and (not found or empty[0] > max(rank for rank, _, _ in found)):
        return Reading(frozenset(), RULES[empty[0]], empty[1].source)
    if not found:
        return Reading(None, Rule.UNDECIDED if undecided else Rule.NOTHING)
    best = max(rank for rank, _, _ in found)
    if (
        best < Rank.FIELD
        and found[-1][2] is not answer.statements[-1]
        and takes_back(answer.statements[-1], vocabulary)
    ):
        return Reading(None, Rule.UNDECIDED, answer.statements[-1].source)
    kept = _of_rank(found, best, vocabulary)
    units = [unit for _, group, _ in kept for unit in group]
    active = _active(units, _contradicted(kept))
    if active is None:
        return Reading(None, Rule.CONTRADICTORY, kept[-1][2].source)
    active = frozenset((active | {code for code, holds in verdicts.items() if holds})
                       - {code for code, holds in verdicts.items() if not holds})  # fmt: skip
    rule = RULES[best] if best >= Rank.CONCLUSION else Rule.LIST
    return Reading(active, rule, kept[-1][2].source if best >= Rank.CONCLUSION else kept[0][2].source)


_Found = tuple[Rank, list[Unit], Statement]


def _plain_rank(statement: Statement, vocabulary: Vocabulary) -> Rank:
    """The rank of an unmarked statement: a conclusion where it says that what it lists is the coding."""
    text = statement.text
    sums_up = vocabulary.words("discourse", "sums_up").search(text) is not None
    return Rank.CONCLUSION if sums_up and is_conclusion(text, vocabulary) else Rank.STATEMENT


def _of_rank(found: Sequence[_Found], best: Rank, vocabulary: Vocabulary) -> list[_Found]:
    """What counts: everything, or what is marked best with the lines that go on with it."""
    if best < Rank.CONCLUSION:
        return list(found)
    first = next(place for place, each in enumerate(found) if each[0] == best)
    if best < Rank.FIELD:
        return [each for place, each in enumerate(found) if place >= first]
    return [each for each in found if each[0] == best or _goes_on(each[2], vocabulary)]


def _contradicted(found: Sequence[_Found]) -> set[str]:
    """Codes that one field says are active and another of the same name that they are not."""
    said: dict[str, dict[str, bool]] = {}
    twice: set[str] = set()
    for _, units, statement in found:
        for unit in units:
            for code in unit.codes if statement.key else ():
                named = said.setdefault(f"{statement.key} {statement.headings}", {})
                is_active = unit.is_active if unit.value is None else unit.value > 0
                if named.setdefault(code, is_active) != is_active:
                    twice.add(code)
    return twice


def _topic_verdict(statement: Statement, vocabulary: Vocabulary, *, has_units: bool) -> dict[str, bool | None]:
    """What a statement says of the unit that its line or its heading names: "Not active.", "so it is present"."""
    names = [name for name in (statement.topic, *reversed(statement.headings)) if name]
    topic = statement.key if has_units and statement.key else "" if has_units else next(iter(names), "")
    codes = codes_of(topic, vocabulary)
    text = statement.value if has_units else statement.text
    if not codes or set(codes_of(text, vocabulary)) - set(codes):
        return {}
    holds = verdict_of(text, vocabulary)
    if holds is not None:
        return dict.fromkeys(codes, holds)
    if not has_units and vocabulary.words("discourse", "unknowable").search(text):
        return dict.fromkeys(codes, None)
    if has_units and statement.value and vocabulary.words("discourse", "quiet").search(text) and not VALUE.match(text):
        others = Clauses(text, vocabulary)
        if not others.find(vocabulary.labels("units")) and not vocabulary.words("yes").search(text):
            return dict.fromkeys(codes, False)
    return {}


def _goes_on(statement: Statement, vocabulary: Vocabulary) -> bool:
    """Whether a statement is a row of a table, or a line that begins with a unit: more of what stands above it."""
    if statement.rule is Rule.FIELD:
        return True
    begins: tuple[Finder, ...] = (LISTED, *vocabulary.labels("units").values())
    return statement.is_alone and any(pattern.match(statement.text) for pattern in begins)


def _active(units: Sequence[Unit], contradicted: set[str]) -> frozenset[str] | None:
    """The codes of the active units; None where nothing is left of what is contradicted."""
    values = [unit.value for unit in units if unit.value is not None and not unit.is_percent]
    highest = max(values, default=0.0)
    active: set[str] = set()
    off: set[str] = set()
    for unit in units:
        if unit.value is None:
            is_active = unit.is_active
        elif unit.is_percent or highest > _HIGHEST_LEVEL:
            is_active = unit.value / 100 >= ACTIVE_SHARE
        elif highest <= 1.0:
            is_active = unit.value >= ACTIVE_SHARE
        else:
            is_active = unit.value >= ACTIVE_LEVEL
        (active if is_active else off).update(unit.codes)
    measured = {code for unit in units if unit.value is not None for code in unit.codes}
    if contradicted and not active - contradicted:
        return None
    return frozenset(active - contradicted - (off & measured) - {"AU0"})


def _says_none(statement: Statement, vocabulary: Vocabulary, rank: Rank) -> bool:
    if statement.key and vocabulary.words("deny", "heading").search(statement.key):
        return False
    if any(vocabulary.words("deny", "heading").search(name) for name in statement.headings):
        return False
    text = statement.text
    if vocabulary.words("discourse", "hidden").search(text) or vocabulary.words("discourse", "unknowable").search(text):
        return False
    none = vocabulary.raw("discourse", "none_of").search(text) is not None
    if none and vocabulary.words("unit_words").search(text):
        return True
    value = statement.value.strip(" .[]{}")
    if rank >= Rank.FIELD and (not value or vocabulary.words("nothing").fullmatch(value)):
        return True
    return bool(vocabulary.words("no_units").search(statement.text)) or statement.text.strip(" .") in ("[]", "{}")
