"""``read_presence``, ``read_yes_or_no``, ``read_either``: the answer to a question that asks for yes or no."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from facekit.answers.languages.telling import vocabularies_for
from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.languages.words import Finder, Words
from facekit.answers.readers.attributes import (
    BEARDLESS,
    NO_BEARD,
    OPPOSITE,
    attribute_claims,
    attribute_table,
    beard_claims,
    spread_hair,
)
from facekit.answers.readers.questions import Asked
from facekit.answers.readers.scores import highest_score
from facekit.answers.readers.shape import (
    RULES,
    Outcome,
    Rank,
    final_part,
    group_of,
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
from facekit.answers.text.normalising import normalise_words
from facekit.answers.text.statements import Answer, Statement

_SUBJECT = "Male"
"""The attribute that a question names by its mere subject: "is the man bald"."""
ClaimsOf = Callable[[Clauses], list[Claim]]
"""What a statement claims of the thing that is asked for, and of its opposite."""


def read_presence(text: str, name: str) -> Reading[bool]:
    """Read whether a face is said to have one attribute, from the answer to a question about it alone.

    Args:
        text: The answer: "yes", "no", or a statement about the attribute or its opposite.
        name: CelebA name, or the code of an action unit.
    """
    return read_answer(text, lambda answer, vocabulary: _read(answer, vocabulary, name, _claims_of(name, ())))


def read_yes_or_no(text: str, question: str = "") -> Reading[bool]:
    """Read the answer to a question that asks for yes or no.

    Args:
        text: The answer: "yes", "no", or a statement about what the question asks for.
        question: The question; where it names one attribute, action unit, expression, or manipulation, statements
            about that count too.
    """
    topic = _topic(question)
    name, path = topic if topic is not None else ("", ())
    asked, claims_of = Asked(question), _claims_of(name, path)
    return read_answer(text, lambda answer, vocabulary: _read(answer, vocabulary, name, claims_of, asked))


def read_either(text: str, yes: Words, no: Words) -> Reading[bool]:
    """Read yes or no, or a statement of one of two sides, such as "the same person" and "different people".

    Args:
        text: The answer to a question about two pictures, or about what a picture is of.
        yes: Words that mean yes where they are not denied, and no where they are.
        no: Words that mean no where they are not denied, and yes where they are.
    """
    sides = {"": yes, OPPOSITE: no}
    return read_answer(
        text, lambda answer, vocabulary: _read(answer, vocabulary, "", lambda clauses: clauses.find(sides)), pictures=2
    )


def _topic(question: str) -> tuple[str, tuple[str, ...]] | None:
    """The one label that a question names, and the table that it stands in; an empty path for attributes and units."""
    words = normalise_words(question).rstrip(" ?？")
    for vocabulary in vocabularies_for(words) if words else ():
        clauses = Clauses(spread_hair(words, vocabulary), vocabulary)
        found: set[tuple[str, tuple[str, ...]]] = {
            (claim.label, ()) for claim in attribute_claims(clauses, attribute_table(vocabulary))
        }
        found |= {
            (NO_BEARD if claim.label == BEARDLESS else _opposite(NO_BEARD), ()) for claim in beard_claims(clauses)
        }
        found |= {(claim.label, ()) for claim in clauses.find(vocabulary.labels("units"))}
        found |= {(f"AU{int(number)}", ()) for number in re.findall(r"(?<![a-z])au\s?0*(\d{1,2})(?!\d)", clauses.text)}
        for path in (("verdicts", "names"), ("expressions", "names")):
            found |= {(claim.label, path) for claim in clauses.find(vocabulary.labels(*path))}
        if len(found) > 1:
            found = {each for each in found if each[0].removeprefix(OPPOSITE) != _SUBJECT}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _claims_of(name: str, path: tuple[str, ...]) -> ClaimsOf:
    return lambda clauses: _of_label(clauses, name, path) if path else _of_attribute(clauses, name)


def _read(
    answer: Answer, vocabulary: Vocabulary, name: str, claims_of: ClaimsOf, asked: Asked | None = None
) -> Reading[bool]:
    outcomes = [
        _presence(statement, vocabulary, name, claims_of, number)
        or (asked.outcome(statement, vocabulary, number) if asked is not None else None)
        for number, statement in enumerate(answer.statements)
    ]
    outcomes.append(_likelier(answer, vocabulary))
    return strongest(outcomes, answer, vocabulary)


def _likelier(answer: Answer, vocabulary: Vocabulary) -> Outcome[bool] | None:
    """Of "yes: 0.7, no: 0.3" the likelier."""
    table = {"yes": vocabulary.words("answers_yes"), "no": vocabulary.words("answers_no")}
    found = highest_score(answer, vocabulary, table)
    if found is None:
        return None
    return Outcome(None if found.value is None else found.value == "yes", found.rank, found.rule, found.span)


def _presence(
    statement: Statement, vocabulary: Vocabulary, name: str, claims_of: ClaimsOf, number: int
) -> Outcome[bool] | None:
    mark = mark_of(statement, vocabulary, "attributes")
    text, is_final = final_part(statement.text, vocabulary)
    if mark not in (None, Rank.ASIDE):
        text, _ = final_part(statement.value or text, vocabulary)
    elif is_final and mark is None:
        mark = Rank.FIELD
    clauses = Clauses(spread_hair(text, vocabulary), vocabulary)
    claims = undecided_claims(clauses, claims_of(clauses))
    held = {side for claim in claims if (side := _side(claim)) is not None}
    said = yes_or_no(text, vocabulary)
    opening = Rank.CONCLUSION if number == 0 or statement.is_alone else Rank.STATEMENT
    if said and held == {False}:
        said = None  # "Yes, I see the face clearly, and there are no glasses on it"
    if said is not None and not (name == NO_BEARD and held):
        rank = mark or (Rank.CONCLUSION if is_conclusion(text, vocabulary) else opening)
        group = group_of(statement, mark, is_bare=len(text) < 6)
        return Outcome(said, rank, Rule.YES_OR_NO if mark is None else RULES[rank], statement.source, group)
    if held:
        value = held.pop() if len(held) == 1 else None
        concludes = is_conclusion(text, vocabulary) or said is not None or (is_bare(text, claims) and number == 0)
        rank = mark or (Rank.CONCLUSION if concludes else Rank.SUBJECT)
        if vocabulary.raw("others").search(text) and mark is None:
            rank = Rank.ASIDE
        return Outcome(value, rank, Rule.CONTRADICTORY if value is None else RULES[rank], statement.source)
    if is_undecided(clauses.text, vocabulary):
        return Outcome(None, mark or Rank.UNDECIDED, Rule.UNDECIDED, statement.source)
    late = {match.lower() for match in vocabulary.words("answers_alone").findall(text)}
    if len(late) == 1 and claims == []:
        value = bool(vocabulary.words("answers_yes").fullmatch(late.pop()))
        return Outcome(value, mark or Rank.MENTION, Rule.YES_OR_NO, statement.source)
    return None


def _of_label(clauses: Clauses, name: str, path: tuple[str, ...]) -> list[Claim]:
    """Claims of a label, and of the others of its table as its opposites where there are but two."""
    table: Mapping[str, Finder] = clauses.vocabulary.labels(*path)
    found = clauses.find(table)
    others = len(table) == 2
    return [
        claim if claim.label == name else replace(claim, label=_opposite(name))
        for claim in found
        if claim.label == name or others
    ]


def _of_attribute(clauses: Clauses, name: str) -> list[Claim]:
    """Claims of an attribute and of its opposite; of the opposite where the name has its prefix."""
    base = name.removeprefix(OPPOSITE)
    claims = _of_name(clauses, base)
    return claims if base == name else [replace(claim, label=_opposite(claim.label)) for claim in claims]


def _of_name(clauses: Clauses, name: str) -> list[Claim]:
    vocabulary = clauses.vocabulary
    if name == NO_BEARD:
        return [
            replace(claim, label=name if claim.label == BEARDLESS else _opposite(name))
            for claim in beard_claims(clauses)
        ]
    if name in vocabulary.labels("units") or re.fullmatch(r"AU\d{1,2}", name):
        code = re.compile(rf"(?<![a-z0-9])(?:au|action unit)\s?0*{name[2:]}(?!\d)")
        table = {name: vocabulary.labels("units").get(name, code)}
        return [*clauses.find({name: code}), *clauses.find(table)]
    table = {
        label: pattern for label, pattern in attribute_table(vocabulary).items() if label in (name, _opposite(name))
    }
    return attribute_claims(clauses, table)


def _opposite(label: str) -> str:
    return label.removeprefix(OPPOSITE) if label.startswith(OPPOSITE) else f"{OPPOSITE}{label}"


def _side(claim: Claim) -> bool | None:
    return None if claim.holds is None else claim.holds != claim.label.startswith(OPPOSITE)
