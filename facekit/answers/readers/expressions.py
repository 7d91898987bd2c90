"""``read_expression``: the expression that an answer commits itself to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.languages.words import Finder
from facekit.answers.readers.scores import first_ranked, highest_score
from facekit.answers.readers.shape import (
    RULES,
    Outcome,
    Rank,
    final_part,
    group_of,
    is_aside,
    is_bare,
    is_conclusion,
    is_modal,
    is_undecided,
    mark_of,
    read_answer,
    strongest,
    undecided_claims,
    without_concessions,
)
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Claim, Clauses
from facekit.answers.text.statements import Answer, Statement
from facekit.data.labels import EXPRESSIONS

Table = Mapping[str, Finder]
_LEAST_SHARE = 0.02


def read_expression(text: str, classes: Sequence[str] = EXPRESSIONS) -> Reading[str]:
    """Read one of the seven expressions, or of those that a data set has.

    An outright name counts before a sign ("a sad smile" is sadness). Of several names in one statement the one counts
    that has the highest number ("happiness: 0.8, sadness: 0.1"), that is set bold, that follows words such as "mostly",
    or that is no mere possibility; several without such words are no answer.

    Args:
        text: The answer.
        classes: The expressions to choose from, names of ``facekit.data.labels.ALL_EXPRESSIONS``.

    Examples:
        >>> from facekit.answers import read_expression
        >>> read_expression("Not angry, rather happy.").value
        'happiness'
    """
    return read_answer(text, lambda answer, vocabulary: _read(answer, vocabulary, classes))


def _read(answer: Answer, vocabulary: Vocabulary, classes: Sequence[str]) -> Reading[str]:
    tables = [
        {name: pattern for name, pattern in vocabulary.labels("expressions", kind).items() if name in classes}
        for kind in ("names", "signs")
    ]
    outcomes: list[Outcome[str] | None] = [
        _outcome(statement, vocabulary, tables, number) for number, statement in enumerate(answer.statements)
    ]
    scored = [highest_score(answer, vocabulary, tables[0]), first_ranked(answer, vocabulary, tables[0])]
    if any(
        each is not None and each.value is not None for each in scored
    ):  # several labels with numbers are no conflict
        outcomes = [None if each is not None and each.rule is Rule.CONTRADICTORY else each for each in outcomes]
    outcomes += scored
    return strongest(outcomes, answer, vocabulary)


def _outcome(statement: Statement, vocabulary: Vocabulary, tables: Sequence[Table], number: int) -> Outcome[str] | None:
    mark = mark_of(statement, vocabulary, "expression")
    text = statement.text if mark in (None, Rank.ASIDE) else statement.value or statement.text
    text, is_final = final_part(text, vocabulary)
    if is_final and mark is None:
        mark = Rank.FIELD
    first: Outcome[str] | None = None
    for words in dict.fromkeys((text, without_concessions(text, vocabulary))):
        found = _settle(words, statement, vocabulary, tables, mark, number)
        if found is not None and found.value is not None:
            return found
        first = found if words == text else first
    return first


def _settle(
    text: str, statement: Statement, vocabulary: Vocabulary, tables: Sequence[Table],
    mark: Rank | None, number: int,
) -> Outcome[str] | None:  # fmt: skip
    clauses = Clauses(text, vocabulary)
    for table, is_sign in zip(tables, (False, True), strict=True):
        claims = _fold_own_denials(clauses, [_plain(claim) for claim in clauses.find(table)])
        if vocabulary.words("discourse", "hidden").search(text):  # a face that is not seen shows no expression
            claims = [claim for claim in claims if not _denies_itself(clauses, claim)]
        kept = undecided_claims(clauses, claims)
        if claims and not kept:
            return Outcome(None, mark or Rank.UNDECIDED, Rule.UNDECIDED, statement.source)
        labels = [claim for claim in kept if claim.holds]
        if not labels:
            continue
        if is_undecided(clauses.text, vocabulary) and all(
            claim.is_minor or is_modal(clauses, claim.start) for claim in labels
        ):
            return Outcome(None, mark or Rank.UNDECIDED, Rule.UNDECIDED, statement.source)
        label = _single(clauses, labels, kept, statement)
        rank = mark or _rank(clauses, statement, kept, is_sign=is_sign, number=number)
        group = group_of(statement, mark, is_bare=is_bare(clauses.text, kept))
        return Outcome(label, rank, RULES[rank] if label else Rule.CONTRADICTORY, statement.source, group)
    if is_undecided(clauses.text, vocabulary) and not any(clauses.find(table) for table in tables):
        return Outcome(None, mark or Rank.UNDECIDED, Rule.UNDECIDED, statement.source)
    return None


def _plain(claim: Claim) -> Claim:
    """A claim whose number says how much of an expression there is, not whether it is the one."""
    return claim if claim.share is None or claim.share < _LEAST_SHARE else replace(claim, share=None)


def _rank(clauses: Clauses, statement: Statement, claims: Sequence[Claim], *, is_sign: bool, number: int) -> Rank:
    vocabulary, text = clauses.vocabulary, clauses.text
    second = vocabulary.words("discourse", "second").search(text)
    if is_aside(text, vocabulary, "expressions") or (second is not None and second.start() < claims[0].start):
        return Rank.ASIDE
    if is_conclusion(text, vocabulary) or (is_bare(text, claims) and (number == 0 or statement.is_alone)):
        return Rank.CONCLUSION
    if is_sign:
        return Rank.SIGN
    if vocabulary.words("subjects").search(text):
        return Rank.SUBJECT
    return Rank.STATEMENT if vocabulary.words("expressions", "frames").search(text) else Rank.MENTION


def _single(clauses: Clauses, labels: list[Claim], claims: Sequence[Claim], statement: Statement) -> str | None:
    """The one label that a statement comes down to, or None."""
    if len({claim.label for claim in labels}) > 1:
        bold = [claim for claim in labels if clauses.text[claim.start : claim.end] in " ".join(statement.bold)]
        if len({claim.label for claim in bold}) == 1:
            return bold[0].label
        since = [0, *(claim.end for claim in claims)]

        def follows(claim: Claim, kind: str) -> bool:
            before = clauses.text[max(end for end in since if end <= claim.start) : claim.start]
            return clauses.vocabulary.raw(kind).search(before) is not None

        strong = [claim for claim in labels if follows(claim, "strong_verdict")]
        firm = [claim for claim in labels if not claim.is_minor]
        after_but = [claim for claim in firm if clauses.is_after_turn(claim.start)]
        for chosen in (strong, firm, after_but, [claim for claim in firm if follows(claim, "verdict")]):
            if len({claim.label for claim in chosen}) == 1:
                return chosen[0].label
    found = {claim.label for claim in labels}
    return found.pop() if len(found) == 1 else None


def _denies_itself(clauses: Clauses, claim: Claim) -> bool:
    """Whether a claim of neutral is a denial of expression itself: "no particular emotion"."""
    before = clauses.vocabulary.words("deny", "before")
    return claim.label == "neutral" and before.search(clauses.text, claim.start, claim.end) is not None


def _fold_own_denials(clauses: Clauses, claims: Iterable[Claim]) -> list[Claim]:
    """Let "no expression", which contains its own denial, deny nothing after it."""
    claims = list(claims)
    own = [claim for claim in claims if _denies_itself(clauses, claim)]
    folded = []
    for claim in claims:
        before = [each for each in own if each.end <= claim.start]
        if before:
            part = Clauses(clauses.text[before[-1].end :], clauses.vocabulary)
            by = before[-1].end
            claim = replace(claim, denied=part.is_denied(claim.start - by, claim.end - by))
        folded.append(claim)
    return folded
