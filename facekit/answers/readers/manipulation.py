"""``read_manipulation``: whether an answer says that a picture is manipulated; a probability becomes a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from facekit.answers.languages.telling import vocabularies_for
from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.readers.shape import (
    RULES,
    Outcome,
    Rank,
    final_part,
    group_of,
    is_bare,
    is_conclusion,
    is_modal,
    is_undecided,
    mark_of,
    read_answer,
    strongest,
    undecided_claims,
    without_concessions,
    yes_or_no,
)
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Claim, Clauses
from facekit.answers.text.normalising import normalise_words
from facekit.answers.text.statements import Answer, Statement

MANIPULATED = "manipulated"


def read_manipulation(text: str, *, yes_means: bool | None = None) -> Reading[bool]:
    """Read whether a picture is said to be manipulated.

    Args:
        text: The answer.
        yes_means: What a bare "yes" answers, where the question says so: True if the question asks whether the
            picture is manipulated, False if it asks whether it is genuine; see ``meaning_of_yes``.

    Returns:
        True for manipulated, False for genuine; None where the answer says neither, both, or that either may be.
    """
    return read_answer(text, lambda answer, vocabulary: _read(answer, vocabulary, yes_means))


def meaning_of_yes(question: str) -> bool | None:
    """What "yes" answers to a question: True for manipulated, False for genuine; None where it asks which of them."""
    words = normalise_words(question)
    for vocabulary in vocabularies_for(words):
        asked = {claim.label for claim in Clauses(words, vocabulary).find(vocabulary.labels("verdicts", "names"))}
        if len(asked) == 1:
            return asked.pop() == MANIPULATED
        if asked:
            return None
    return None


def _read(answer: Answer, vocabulary: Vocabulary, yes_means: bool | None) -> Reading[bool]:
    outcomes = [
        _outcome(statement, vocabulary, yes_means, number) for number, statement in enumerate(answer.statements)
    ]
    reading = strongest(outcomes, answer, vocabulary)
    made = [each for each in outcomes if each is not None]
    weighed = {each.value for each in made if each.rank <= Rank.SUBJECT and each.value is not None}
    if (
        made
        and made[-1].rule is Rule.UNDECIDED
        and len(weighed) > 1
        and max(each.rank for each in made) <= Rank.SUBJECT
    ):
        return Reading(None, Rule.UNDECIDED, made[-1].span)
    if reading.rule is Rule.SIGN:
        signs = {each.value for each in outcomes if each is not None and each.rank is Rank.SIGN}
        if len(signs) > 1:
            return Reading(None, Rule.CONTRADICTORY, reading.span)
    return reading


def _outcome(statement: Statement, vocabulary: Vocabulary, yes_means: bool | None, number: int) -> Outcome[bool] | None:
    mark = mark_of(statement, vocabulary, "manipulation")
    if mark is not None and is_undecided_value(statement.value, vocabulary):
        return Outcome(None, mark, Rule.UNDECIDED, statement.source)
    if statement.key and is_undecided_value(statement.value, vocabulary):
        return None
    texts = [statement.text] if mark in (None, Rank.ASIDE) else [statement.value or statement.text, statement.text]
    for text in dict.fromkeys(texts):
        part, is_final = final_part(text, vocabulary)
        rank = Rank.FIELD if is_final and mark is None else mark
        found = _settle(part, statement, vocabulary, rank, number)
        if found is not None:
            return found
        said = yes_or_no(part, vocabulary)
        if said is not None and yes_means is not None:
            bare = rank or (Rank.CONCLUSION if number == 0 or statement.is_alone else Rank.STATEMENT)
            group = group_of(statement, mark, is_bare=len(part) < 6)
            return Outcome(said == yes_means, bare, Rule.YES_OR_NO, statement.source, group)
    return None


def is_undecided_value(value: str, vocabulary: Vocabulary) -> bool:
    """Whether a field's value is nothing but "unknown" or the like."""
    return bool(vocabulary.words("undecided").fullmatch(value.strip(" .")))


def _settle(
    text: str, statement: Statement, vocabulary: Vocabulary, mark: Rank | None, number: int
) -> Outcome[bool] | None:
    text = _blanked(text, vocabulary, "harmless")
    clauses = Clauses(_blanked(text, vocabulary, "weak"), vocabulary)
    claims = clauses.find(vocabulary.labels("verdicts", "names"))
    kept = [claim for claim in undecided_claims(clauses, claims) if claim.holds is not None]
    undecided = Outcome[bool](None, mark or Rank.UNDECIDED, Rule.UNDECIDED, statement.source)
    if not claims:
        return _sign(text, statement, vocabulary, mark, undecided)
    if not kept:
        asked = all(claim.is_asked for claim in claims)
        return None if asked else undecided
    if is_undecided(clauses.text, vocabulary) and len({_side(claim) for claim in kept}) > 1:
        return undecided
    firm = [claim for claim in kept if claim.share is not None or not is_modal(clauses, claim.start)]
    if not firm:
        return undecided
    verdict = _weigh(clauses, firm, statement)
    rank = mark or _rank(clauses, statement, firm, verdict=verdict, number=number)
    rule = Rule.CONTRADICTORY if verdict is None else RULES[rank]
    group = group_of(statement, mark, is_bare=is_bare(text, firm))
    return Outcome(verdict, rank, rule, statement.source, group)


def _sign(
    text: str, statement: Statement, vocabulary: Vocabulary, mark: Rank | None, undecided: Outcome[bool]
) -> Outcome[bool] | None:
    clauses = Clauses(text, vocabulary)
    claims = undecided_claims(clauses, clauses.find(vocabulary.labels("verdicts", "signs")))
    sides = {_side(claim) for claim in claims if claim.holds is not None}
    if len(sides) == 1:
        rank = mark or Rank.SIGN
        return Outcome(sides.pop(), rank, RULES[rank], statement.source)
    if not claims and is_undecided(text, vocabulary):
        return undecided
    return None


def _rank(
    clauses: Clauses, statement: Statement, claims: Sequence[Claim], *, verdict: bool | None, number: int
) -> Rank:
    vocabulary, text = clauses.vocabulary, clauses.text
    if vocabulary.raw("others").search(text):
        return Rank.ASIDE
    said = yes_or_no(text, vocabulary)
    opening = number == 0 or statement.is_alone
    if is_conclusion(text, vocabulary) or (opening and (said is not None or is_bare(text, claims))):
        return Rank.CONCLUSION
    if verdict is False and all(_is_about_part(clauses, claim) for claim in claims):
        return Rank.SIGN
    return Rank.SUBJECT if vocabulary.words("pictures").search(text) else Rank.STATEMENT


def _weigh(clauses: Clauses, claims: Sequence[Claim], statement: Statement) -> bool | None:
    """The verdict of a statement: of one that says both by numbers, what it concedes, its turn, or its conclusion."""
    bold = " ".join(statement.bold)
    chosen: list[Callable[[], Sequence[Claim]]] = [
        lambda: claims,
        lambda: [claim for claim in claims if claim.share is not None],
        lambda: [claim for claim in claims if bold and clauses.text[claim.start : claim.end] in bold],
        lambda: _conceded(clauses),
        lambda: [claim for claim in claims if not _is_about_part(clauses, claim)],
        lambda: [claim for claim in claims if clauses.is_after_turn(claim.start)],
        lambda: [claim for claim in claims if _follows_verdict(clauses, claim)],
    ]
    for choose in chosen:
        sides = {_side(claim) for claim in choose()}
        if len(sides) == 1:
            return sides.pop()
    return None


def _conceded(clauses: Clauses) -> list[Claim]:
    words = without_concessions(clauses.text, clauses.vocabulary)
    found = Clauses(words, clauses.vocabulary).find(clauses.vocabulary.labels("verdicts", "names"))
    return [claim for claim in found if claim.holds is not None]


def _side(claim: Claim) -> bool:
    return (claim.label == MANIPULATED) == bool(claim.holds)


def _follows_verdict(clauses: Clauses, claim: Claim) -> bool:
    return bool(clauses.vocabulary.raw("strong_verdict").search(clauses.text[: claim.start]))


def _is_about_part(clauses: Clauses, claim: Claim) -> bool:
    """Whether a claim is of the eyes or the light rather than of the picture."""
    vocabulary = clauses.vocabulary
    clause = clauses.text[clauses.clause_start(claim.start) : clauses.clause_end(claim.end)]
    return bool(vocabulary.words("verdicts", "parts").search(clause)) and not vocabulary.words("pictures").search(
        clause
    )


def _blanked(text: str, vocabulary: Vocabulary, kind: str) -> str:
    return vocabulary.words("verdicts", kind).sub(lambda match: " " * len(match[0]), text)
