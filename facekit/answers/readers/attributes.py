"""``read_attributes`` and ``read_presence``: the attributes that a face is said to have, together or one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.readers.shape import (
    RULES,
    Outcome,
    Rank,
    final_part,
    is_bare,
    is_conclusion,
    is_undecided,
    mark_of,
    read_answer,
    strongest,
    undecided_claims,
    yes_or_no,
)
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Claim, Clauses
from facekit.answers.text.statements import Answer, Statement

NO_BEARD = "No_Beard"
_OPPOSITE = "not "
_BEARD, _BEARDLESS = "beard", "beardless"


def read_attributes(text: str) -> Reading[frozenset[str]]:
    """Read the attributes that the face is said to have.

    Saying "no beard" or "clean-shaven" affirms CelebA's ``No_Beard``; what is not named is taken as absent.

    Args:
        text: The answer.

    Returns:
        CelebA names; empty where the answer says that there are none; None where it names no attribute at all.
    """
    return read_answer(text, _read_all)


def read_presence(text: str, name: str) -> Reading[bool]:
    """Read whether a face is said to have one attribute, from the answer to a question about it alone.

    Args:
        text: The answer: "yes", "no", or a statement about the attribute or its opposite.
        name: CelebA name, or the code of an action unit.
    """
    return read_answer(text, lambda answer, vocabulary: _read_one(answer, vocabulary, name))


def _read_all(answer: Answer, vocabulary: Vocabulary) -> Reading[frozenset[str]]:
    present: set[str] = set()
    absent: set[str] = set()
    named: Statement | None = None
    best = Rank.STATEMENT
    nothing: Statement | None = None
    undecided = False
    for statement in answer.statements:
        rank = mark_of(statement, vocabulary, "attributes")
        if rank is Rank.ASIDE:
            continue
        held = dict(_held(statement, vocabulary))
        if held and rank is not None and rank > max(best, Rank.FIELD):
            present, absent = set(), set()
        if held and (rank or Rank.STATEMENT) >= (best if best > Rank.FIELD else Rank.STATEMENT):
            best = max(best, rank or best)
            named = named or statement
            present |= {name for name, holds in held.items() if holds}
            absent |= {name for name, holds in held.items() if not holds}
        elif not held and _says_none(statement, vocabulary, rank):
            nothing = statement
        elif not held:
            undecided = undecided or is_undecided(statement.text, vocabulary)
    if named is not None:
        known = frozenset(name for name in present if not name.startswith(_OPPOSITE))
        return Reading(known, RULES[best] if best >= Rank.FIELD else Rule.LIST, named.source)
    if nothing is not None:
        return Reading(frozenset(), Rule.LIST, nothing.source)
    return Reading(None, Rule.UNDECIDED if undecided else Rule.NOTHING)


def _says_none(statement: Statement, vocabulary: Vocabulary, rank: Rank | None) -> bool:
    value = statement.value.strip(" .[]{}")
    if rank is not None and (not value or vocabulary.words("nothing").fullmatch(value)):
        return True
    return bool(vocabulary.words("no_attributes").search(statement.text)) or statement.text.strip(" .") == "[]"


def _held(statement: Statement, vocabulary: Vocabulary) -> Iterator[tuple[str, bool]]:
    """Attribute names and opposites, and whether each is said to hold."""
    if statement.key and vocabulary.words("undecided").fullmatch(statement.value.strip(" .")):
        return
    clauses = Clauses(spread_hair(statement.text, vocabulary), vocabulary)
    denied = any(vocabulary.words("deny", "heading").search(name) for name in statement.headings)
    table = {
        **vocabulary.labels("attributes"),
        **{f"{_OPPOSITE}{name}": pattern for name, pattern in vocabulary.labels("opposites").items()},
    }
    gone: set[str] = set()
    for claim in _overlapping(clauses, table):
        if claim.holds is None:
            continue
        holds = claim.holds and not denied
        if claim.label.startswith(_OPPOSITE):
            gone.add(claim.label)
            yield claim.label, holds
        else:
            yield claim.label, holds
    beards = _beards(clauses, vocabulary)
    if beards:
        yield NO_BEARD, any((claim.label == _BEARDLESS) == (bool(claim.holds) and not denied) for claim in beards)


def _overlapping(clauses: Clauses, table: Mapping[str, re.Pattern[str]]) -> list[Claim]:
    """Claims of attributes, and of opposites where no attribute is named in the same words."""
    found = clauses.find({name: pattern for name, pattern in table.items() if not name.startswith(_OPPOSITE)})
    against = clauses.find({name: pattern for name, pattern in table.items() if name.startswith(_OPPOSITE)})
    longer = [
        claim for claim in found
        if not any(other.start <= claim.start and claim.end <= other.end and _length(other) > _length(claim)
                   and other.label == f"{_OPPOSITE}{claim.label}" for other in against)
    ]  # fmt: skip
    return [*longer, *(claim for claim in against if not any(claim.start < each.end and each.start < claim.end for each in longer))]


def _length(claim: Claim) -> int:
    return claim.end - claim.start


def _beards(clauses: Clauses, vocabulary: Vocabulary) -> list[Claim]:
    table = {_BEARD: vocabulary.words("beard"), _BEARDLESS: vocabulary.words("beardless")}
    return [claim for claim in undecided_claims(clauses, clauses.find(table)) if claim.holds is not None]


def _read_one(answer: Answer, vocabulary: Vocabulary, name: str) -> Reading[bool]:
    return strongest(
        _presence(statement, vocabulary, name, number) for number, statement in enumerate(answer.statements)
    )


def _presence(statement: Statement, vocabulary: Vocabulary, name: str, number: int) -> Outcome[bool] | None:
    mark = mark_of(statement, vocabulary, "attributes")
    text, is_final = final_part(statement.text, vocabulary)
    if is_final and mark is None:
        mark = Rank.FIELD
    if mark not in (None, Rank.ASIDE):
        text = statement.value or text
    clauses = Clauses(spread_hair(text, vocabulary), vocabulary)
    claims = undecided_claims(clauses, _claims_of(clauses, vocabulary, name))
    held = {side for claim in claims if (side := _side(claim)) is not None}
    said = yes_or_no(text, vocabulary)
    opening = Rank.CONCLUSION if number == 0 or statement.is_alone else Rank.STATEMENT
    if said is not None and not (name == NO_BEARD and held):
        rank = mark or opening
        return Outcome(said, rank, Rule.YES_OR_NO if mark is None else RULES[rank], statement.source)
    if held:
        value = held.pop() if len(held) == 1 else None
        concludes = is_conclusion(text, vocabulary) or said is not None or (is_bare(text, claims) and number == 0)
        rank = mark or (Rank.CONCLUSION if concludes else Rank.SUBJECT)
        if vocabulary.raw("others").search(text) and mark is None:
            rank = Rank.ASIDE
        return Outcome(value, rank, Rule.CONTRADICTORY if value is None else RULES[rank], statement.source)
    if is_undecided(text, vocabulary):
        return Outcome(None, mark or Rank.UNDECIDED, Rule.UNDECIDED, statement.source)
    late = {match.lower() for match in vocabulary.words("answers_alone").findall(text)}
    if len(late) == 1 and claims == []:
        value = bool(vocabulary.words("answers_yes").fullmatch(late.pop()))
        return Outcome(value, mark or Rank.MENTION, Rule.YES_OR_NO, statement.source)
    return None


def _claims_of(clauses: Clauses, vocabulary: Vocabulary, name: str) -> list[Claim]:
    if name == NO_BEARD:
        return [
            _renamed(claim, NO_BEARD if claim.label == _BEARDLESS else f"{_OPPOSITE}{NO_BEARD}")
            for claim in _beards(clauses, vocabulary)
        ]
    if name in vocabulary.labels("units") or re.fullmatch(r"AU\d{1,2}", name):
        code = re.compile(rf"(?<![a-z0-9])(?:au|action unit)\s?0*{name[2:]}(?!\d)")
        table = {name: vocabulary.labels("units").get(name, code)}
        return [*clauses.find({name: code}), *clauses.find(table)]
    table = {
        label: pattern
        for label, pattern in (
            (name, vocabulary.labels("attributes").get(name)),
            (f"{_OPPOSITE}{name}", vocabulary.labels("opposites").get(name)),
        )
        if pattern is not None
    }
    return _overlapping(clauses, table)


def _renamed(claim: Claim, label: str) -> Claim:
    return Claim(label, claim.start, claim.end, claim.denied, claim.share, claim.is_minor, claim.is_asked)


def _side(claim: Claim) -> bool | None:
    if claim.holds is None:
        return None
    return claim.holds != claim.label.startswith(_OPPOSITE)


def spread_hair(text: str, vocabulary: Vocabulary) -> str:
    """Turn "wavy, black hair" and "hair is wavy and black" into "wavy hair, black hair", so that each is found."""
    hair = vocabulary.entries("hair")
    if not hair or not vocabulary.words("hair_words").search(text):
        return text
    for table in vocabulary.entries("hair_tables"):
        text = _spread(text, table)
    return text


def _spread(text: str, table: Mapping[str, Sequence[str] | str | bool]) -> str:
    noun, first = str(table["noun"]), bool(table["noun_first"])
    adjective, filler, joint, verb = ("|".join(table[key]) for key in ("adjectives", "fillers", "joints", "verbs"))  # type: ignore[arg-type]
    single = str(table.get("written", "")) or None
    run = rf"(?:(?:{filler})(?:{joint})){{0,3}}(?:{adjective})(?:(?:{joint})(?:(?:{filler})(?:{joint})){{0,2}}(?:{adjective})){{0,4}}"
    word = re.compile(rf"(?<![a-zà-ɏ])({adjective})(?![a-zà-ɏ])")

    def written(match: re.Match[str]) -> str:
        own = single or match.groupdict().get("noun") or noun
        form = rf"{own} \1" if first else rf"\1 {own}"
        return word.sub(form, match["run"])

    verbs = rf"\s?(?:{verb}){'?' if first else ''}\s?"
    text = re.sub(rf"(?<![a-zà-ɏ])(?P<noun>{noun}){verbs}(?P<run>{run})(?![a-zà-ɏ])", written, text)
    if not first:
        text = re.sub(rf"(?<![a-zà-ɏ])(?P<run>{run})\s(?P<noun>{noun})(?![a-zà-ɏ])", written, text)
    return text
