"""The shape that all readers share: each statement makes an outcome of some rank, and the highest rank is the answer.

Of equal ranks the last counts: models reason first and commit themselves at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from facekit.answers.languages.telling import vocabularies_for
from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Claim, Clauses
from facekit.answers.text.statements import Answer, Statement, split_answer

Value = TypeVar("Value")


class Rank(IntEnum):
    """How firmly a statement commits an answer."""

    ASIDE = 1
    SIGN = 2
    MENTION = 3
    UNDECIDED = 4
    STATEMENT = 5
    SUBJECT = 6
    CONCLUSION = 7
    SCORES = 8
    FIELD = 9
    FINAL = 10
    TAGGED = 11
    BOXED = 12


RULES = {
    Rank.ASIDE: Rule.MENTION, Rank.SIGN: Rule.SIGN, Rank.MENTION: Rule.MENTION, Rank.UNDECIDED: Rule.STATEMENT,
    Rank.STATEMENT: Rule.STATEMENT, Rank.SUBJECT: Rule.STATEMENT, Rank.CONCLUSION: Rule.CONCLUSION,
    Rank.SCORES: Rule.SCORES, Rank.FIELD: Rule.FIELD, Rank.FINAL: Rule.FINAL, Rank.TAGGED: Rule.TAGGED,
    Rank.BOXED: Rule.BOXED,
}  # fmt: skip


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What one statement comes to.

    Args:
        value: The label; None where it says that it cannot tell, or names several.
        rank: How firmly.
        rule: The rule, or why there is no label.
        span: The statement's own words.
    """

    value: Value | None
    rank: Rank
    rule: Rule
    span: str


_ENDS = re.compile(
    r"\s*(?:$|[,.;:!?()/-]|(?=[\u3040-\u9fff])|(?:there|it|the|this|that|he|she|they|based|i|from|because|as)\b)"
)

Reader = Callable[[Answer, Vocabulary], Reading[Value]]


def read_answer(text: str, reader: Reader[Value]) -> Reading[Value]:
    """Read an answer in the languages that it may be in, until one of them finds something said.

    Args:
        text: What the model wrote.
        reader: Reads its statements with one vocabulary.
    """
    answer = split_answer(text)
    if answer.problem is not None:
        return Reading(None, answer.problem)
    for vocabulary in vocabularies_for(answer.words):
        reading = reader(answer, vocabulary)
        if reading.rule is not Rule.NOTHING:
            return reading.shortened()
    return Reading(None, Rule.NOTHING)


def strongest(outcomes: Iterable[Outcome[Value] | None]) -> Reading[Value]:
    """The reading of the last outcome of the highest rank."""
    best: Outcome[Value] | None = None
    for outcome in outcomes:
        if outcome is not None and (best is None or outcome.rank >= best.rank):
            best = outcome
    return Reading(None, Rule.NOTHING) if best is None else Reading(best.value, best.rule, best.span)


def mark_of(statement: Statement, vocabulary: Vocabulary, task: str) -> Rank | None:
    """The rank that a statement's mark gives it: a box, a tag, its key or its heading; None without one.

    Args:
        statement: The statement.
        vocabulary: The language.
        task: Whose keys count, such as ``expression``.
    """
    if statement.rule is Rule.BOXED:
        return Rank.BOXED
    names = [name for name in (statement.key, *reversed(statement.headings)) if name]
    ranks = [_rank_of_name(name, vocabulary, task) for name in names]
    found = next((rank for rank in ranks if rank is not None), None)
    if statement.rule is Rule.TAGGED:
        return Rank.ASIDE if found is Rank.ASIDE else Rank.TAGGED
    return found


def _rank_of_name(name: str, vocabulary: Vocabulary, task: str) -> Rank | None:
    if vocabulary.words("keys", "minor").fullmatch(name):
        return Rank.ASIDE
    if vocabulary.words("keys", "very_final").fullmatch(name):
        return Rank.FINAL
    if vocabulary.words("keys", "final").fullmatch(name) or vocabulary.words("keys", task).fullmatch(name):
        return Rank.FIELD
    return None


def final_part(text: str, vocabulary: Vocabulary) -> tuple[str, bool]:
    """What stands behind "the answer is", and whether there is such a mark."""
    found = None
    for found in vocabulary.raw("final_inline").finditer(text):  # noqa: B007
        pass
    if found is None or not text[found.end() :].strip(" .:"):
        return text, False
    return text[found.end() :], True


def is_conclusion(text: str, vocabulary: Vocabulary) -> bool:
    """Whether a statement begins as a conclusion does."""
    return bool(vocabulary.words("conclusions").match(text.lstrip("- ,")))


def is_aside(text: str, vocabulary: Vocabulary, topic: str) -> bool:
    """Whether a statement is about other people, or about people in general."""
    return bool(vocabulary.raw("others").search(text) or vocabulary.raw(topic, "general").search(text))


def undecided_claims(clauses: Clauses, claims: Iterable[Claim]) -> list[Claim]:
    """The claims that do not stand behind "I cannot tell whether"."""
    vocabulary, text = clauses.vocabulary, clauses.text
    doubts = [match.span() for match in vocabulary.words("undecided").finditer(text)]
    doubts += [match.span() for match in vocabulary.words("whether").finditer(text)]
    kept = []
    for claim in claims:
        clause = clauses.clause_start(claim.start)
        before = [end for start, end in doubts if clause <= start and end <= claim.start]
        doubted = bool(before) and (
            "," not in text[max(before) : claim.start]
            or vocabulary.words("whether").search(text[clause : claim.start]) is not None
        )
        if not doubted:
            kept.append(claim)
    return kept


def is_undecided(text: str, vocabulary: Vocabulary) -> bool:
    """Whether a text says that it cannot tell."""
    return bool(vocabulary.words("undecided").search(text))


def without_concessions(text: str, vocabulary: Vocabulary) -> str:
    """A statement without what it concedes: "although it looks fake, …", "… at first sight, but …"."""
    for pattern in vocabulary.compiled("concessions"):
        text = pattern.sub(" ", text)
    return text


def yes_or_no(text: str, vocabulary: Vocabulary) -> bool | None:
    """What a statement says that begins with yes or no, or is nothing else; None for others."""
    text = text.lstrip("- (:.,")
    for pattern, value in ((vocabulary.words("answers_no"), False), (vocabulary.words("answers_yes"), True)):
        match = pattern.match(text)
        if match and _ENDS.match(text, match.end()):
            return value
    return None


def is_bare(text: str, claims: Iterable[Claim]) -> bool:
    """Whether a statement is hardly more than the label that it names."""
    covered = sum(claim.end - claim.start for claim in claims)
    rest = len(re.sub(r"[\W\d]", "", text)) - covered
    return covered > 0 and rest <= max(6, covered // 2)
