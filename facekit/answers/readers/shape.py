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
from facekit.answers.text.discourse import said_here, takes_back
from facekit.answers.text.normalising import normalise_words
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
        group: What it answers, such as its key; two values in one group contradict each other.
    """

    value: Value | None
    rank: Rank
    rule: Rule
    span: str
    group: str | None = None


_AFTER_VERDICT = re.compile(r"\s*\([^()]{0,80}\)\s*[.!]*$")
_ENDS = re.compile(
    r"\s*(?:$|[,.;:!?()/-]|(?=[\u3040-\u9fff])|(?:there|it|the|this|that|he|she|they|based|i|from|because|as)\b)"
)

Reader = Callable[[Answer, Vocabulary], Reading[Value]]


def read_answer(text: str, reader: Reader[Value], *, pictures: int = 1) -> Reading[Value]:
    """Read an answer in the languages that it may be in, until one of them finds something said.

    Args:
        text: What the model wrote.
        reader: Reads its statements with one vocabulary.
        pictures: How many the question is about, see ``said_here``.
    """
    answer = split_answer(text)
    if answer.problem is not None:
        return Reading(None, answer.problem)
    for vocabulary in vocabularies_for(answer.words):
        answer = said_here(answer, vocabulary, pictures=pictures)
        reading = reader(answer, vocabulary) if answer.statements else Reading(None, Rule.NOTHING)
        if reading.rule is not Rule.NOTHING:
            return reading.shortened()
    return Reading(None, Rule.NOTHING)


def strongest(
    outcomes: Iterable[Outcome[Value] | None], answer: Answer, vocabulary: Vocabulary, *, is_one: bool = True
) -> Reading[Value]:
    """The reading of the last outcome of the highest rank.

    Args:
        outcomes: One per statement, then those of the answer as a whole.
        answer: The answer.
        vocabulary: The language.
        is_one: Whether there is but one right value, so that two of them under one key contradict each other.
    """
    placed = [(place, outcome) for place, outcome in enumerate(outcomes) if outcome is not None]
    if not placed:
        return Reading(None, Rule.NOTHING)
    rank = max(outcome.rank for _, outcome in placed)
    place, best = next((place, outcome) for place, outcome in reversed(placed) if outcome.rank == rank)
    if rank < Rank.SCORES:
        back = [number for number, each in enumerate(answer.statements) if takes_back(each, vocabulary)]
        if back and back[-1] >= min(place, len(answer.statements) - 1):
            return Reading(None, Rule.UNDECIDED, answer.statements[back[-1]].source)
    group = [outcome for _, outcome in placed if outcome.group == best.group is not None]
    values = {outcome.value for outcome in group if outcome.value is not None}
    if is_one and len(values) > 1 and not is_revised(normalise_words(best.span), vocabulary):
        return Reading(None, Rule.CONTRADICTORY, best.span)
    return Reading(best.value, best.rule, best.span)


def is_revised(text: str, vocabulary: Vocabulary) -> bool:
    """Whether a statement begins by correcting what came before it."""
    return bool(vocabulary.words("revisions").search(text[:60]))


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


def group_of(statement: Statement, mark: Rank | None, *, is_bare: bool) -> str | None:
    """What a statement answers: its key where it is marked, or the question itself where it is nothing but a label."""
    if mark not in (None, Rank.ASIDE):
        return f"{mark}{statement.key}"
    return "bare" if is_bare else None


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
        if not doubted and not claim.is_open:
            kept.append(claim)
    return kept


def is_modal(clauses: Clauses, place: int) -> bool:
    """Whether what stands at a place is named as a mere possibility: "maybe AU4", "she might wear glasses"."""
    return bool(clauses.vocabulary.words("modal").search(clauses.text, clauses.clause_start(place), place))


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
    lead = vocabulary.words("conclusions").match(text)
    if lead is not None and len(lead[0]) < 24:
        text = text[lead.end() :].lstrip(" ,:")
    for pattern, value in ((vocabulary.words("answers_no"), False), (vocabulary.words("answers_yes"), True)):
        match = pattern.match(text)
        if match and _ENDS.match(text, match.end()):
            return value
    return None


def verdict_of(text: str, vocabulary: Vocabulary) -> bool | None:
    """Yes or no where a statement's last clause says nothing else of its subject: "so I'd mark this as present"."""
    clause = re.split(r"[,;:]\s|\s-+\s", _AFTER_VERDICT.sub("", text))[-1].strip(" .!)(")
    for kind, value in (("no", False), ("yes", True)):
        for match in vocabulary.words(kind).finditer(clause):
            rest = clause[match.end() :]
            if match.end() - match.start() > 1 and vocabulary.raw("discourse", "verdict_tail").fullmatch(rest):
                before = vocabulary.words("discourse", "verdict_fillers").sub(" ", clause[: match.start()])
                if not re.search(r"\w", before):
                    denied = vocabulary.words("deny", "before").search(clause, 0, match.start()) is not None
                    return value if not denied else not value
    return None


def is_bare(text: str, claims: Iterable[Claim]) -> bool:
    """Whether a statement is hardly more than the label that it names."""
    covered = sum(claim.end - claim.start for claim in claims)
    rest = len(re.sub(r"[\W\d]", "", text)) - covered
    return covered > 0 and rest <= max(6, covered // 2)
