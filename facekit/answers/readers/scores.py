"""Labels with numbers over a whole answer: score lists and tables, and lists in order of likelihood."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.languages.words import Finder
from facekit.answers.readers.shape import Outcome, Rank
from facekit.answers.reading import Rule
from facekit.answers.text.claims import Claim, Clauses
from facekit.answers.text.statements import Answer

Table = Mapping[str, Finder]
_PLAIN = re.compile(r"\s(?P<number>\d{1,3}(?:[.,]\d{1,6})?)\s?%?(?=\s*(?:[,;/)|\n]|\.?\s*$))")
_FEWEST_PLAIN = 3
"""Labels with a number behind them and no sign between that make a score list: "sad 61, neutral 22, angry 9"."""
_SCORE = re.compile(
    r"\s*(?:[:=(|]+|\s-+\s)\s*(?P<number>\d{1,3}(?:[.,]\d{1,6})?)(?![\d.,]*\d)(?!\s?(?:-|to|years?|jahre)\s?)"
)


def highest_score(answer: Answer, vocabulary: Vocabulary, table: Table) -> Outcome[str] | None:
    """The label with the highest of at least two numbers; an outcome without a label where two are highest."""
    scores: dict[str, float] = {}
    shares: dict[str, float] = {}
    plain: dict[str, float] = {}
    spans: dict[str, str] = {}
    for clauses, claim, source in _claims(answer, vocabulary, table):
        number = _number(_SCORE.match(clauses.text, claim.end))
        bare = _number(_PLAIN.match(clauses.text, claim.end))
        share = -1.0 if claim.share is None or claim.denied else claim.share
        for found, value in ((scores, number), (shares, share), (plain, bare)):
            if value > found.get(claim.label, -1.0):
                found[claim.label], spans[claim.label] = value, source
    for found in (scores, shares, plain if len(plain) >= _FEWEST_PLAIN else {}):
        ranked = sorted(found, key=lambda label: found[label], reverse=True)
        if len(ranked) < 2:
            continue
        if found[ranked[0]] == found[ranked[1]]:
            return Outcome(None, Rank.SCORES, Rule.CONTRADICTORY, spans[ranked[0]])
        return Outcome(ranked[0], Rank.SCORES, Rule.SCORES, spans[ranked[0]])
    return None


def _number(match: re.Match[str] | None) -> float:
    return float(match["number"].replace(",", ".")) if match is not None else -1.0


def first_ranked(answer: Answer, vocabulary: Vocabulary, table: Table) -> Outcome[str] | None:
    """The first label of a list that is said to be in order of likelihood."""
    words = vocabulary.words("discourse", "ranked")
    for statement in answer.statements:
        if any(words.search(name) for name in (statement.key, *statement.headings) if name):
            text = statement.value if statement.key and words.search(statement.key) else statement.text
            claims = [claim for claim in Clauses(text, vocabulary).find(table) if claim.holds is not False]
            if claims:
                return Outcome(claims[0].label, Rank.SCORES, Rule.SCORES, statement.source)
    return None


def _claims(answer: Answer, vocabulary: Vocabulary, table: Table) -> Iterator[tuple[Clauses, Claim, str]]:
    for statement in answer.statements:
        clauses = Clauses(statement.text, vocabulary)
        for claim in clauses.find(table):
            yield clauses, claim, statement.source
