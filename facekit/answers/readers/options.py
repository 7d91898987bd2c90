"""``read_option``: the option of a multiple-choice question that an answer commits itself to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.readers.shape import (
    RULES,
    Outcome,
    Rank,
    final_part,
    is_conclusion,
    is_undecided,
    mark_of,
    read_answer,
    strongest,
    undecided_claims,
)
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Clauses
from facekit.answers.text.normalising import normalise_words, unified
from facekit.answers.text.statements import Answer, Statement

_BARE = re.compile(r"[\s(\[{]*(?:option|choice|opci[oó]n|opção|选项|選択肢|antwort)?\s*[(\[]?([a-z])[)\]}]?[\s.:,!。]*")
_ENDING = "(?:e[nrsm]?|s)?"
_LETTER = re.compile(r"(?<![\w'])([B-HJ-Z])[.!)*]{0,3}\s*$")
_LED = re.compile(r"[\s(\[]*([a-z])(?:[)\]]|\s?[.:)]|\s-)\s*(?=\S)")


def read_option(text: str, options: Sequence[str]) -> Reading[str]:
    """Read the letter of the option that an answer chooses, by its letter or by its text.

    For FaceXBench's published numbers see ``facekit.answers.option_extraction``, which reads as its authors do.

    Args:
        text: The answer.
        options: The options' texts, A first.
    """
    labels = ascii_uppercase[: len(options)]
    texts = [normalise_words(unified(option)).strip(" .") for option in options]
    return read_answer(text, lambda answer, vocabulary: _read(answer, vocabulary, labels, texts))


def _read(answer: Answer, vocabulary: Vocabulary, labels: str, texts: Sequence[str]) -> Reading[str]:
    return strongest(
        _outcome(statement, vocabulary, labels, texts, number) for number, statement in enumerate(answer.statements)
    )


def _outcome(
    statement: Statement, vocabulary: Vocabulary, labels: str, texts: Sequence[str], number: int
) -> Outcome[str] | None:
    mark = mark_of(statement, vocabulary, "option")
    text, is_final = final_part(statement.text, vocabulary)
    if mark not in (None, Rank.ASIDE):
        text, _ = final_part(statement.value or text, vocabulary)
    elif is_final and mark is None:
        mark = Rank.FIELD
    opening = Rank.CONCLUSION if number == 0 or statement.is_alone else Rank.STATEMENT
    clauses = Clauses(text, vocabulary)
    chosen, is_plain = _by_letter(clauses, labels, is_marked=mark is not None)
    if chosen is None and not is_undecided(text, vocabulary):
        letters = {letter for letter in _LETTER.findall(statement.source) if letter in labels}
        denied = any(
            clauses.is_denied(found.start(), found.end()) for found in re.finditer(r"(?<![a-z])[a-z](?![a-z])", text)
        )
        chosen = letters.pop() if len(letters) == 1 and not denied else None
    named = _by_text(clauses, labels, texts)
    if chosen is None and not named:
        if is_undecided(text, vocabulary):
            return Outcome(None, mark or Rank.UNDECIDED, Rule.UNDECIDED, statement.source)
        return None
    label = chosen if chosen is not None else (named.pop() if len(named) == 1 else None)
    rank = mark or (opening if is_plain else Rank.SUBJECT)
    if mark is None and is_conclusion(text, vocabulary):
        rank = Rank.CONCLUSION
    if chosen is None and mark is None and not is_plain:
        alone = any(text.strip(" .") == option for option in texts)
        rank = rank if rank is Rank.CONCLUSION else opening if alone else Rank.MENTION
    return Outcome(label, rank, Rule.CONTRADICTORY if label is None else RULES[rank], statement.source)


def _by_letter(clauses: Clauses, labels: str, *, is_marked: bool) -> tuple[str | None, bool]:
    """The option named by its letter, and whether the statement begins with it."""
    text = clauses.text
    bare = _BARE.fullmatch(text)
    led = bare or _LED.match(text)
    if led is not None and led[1].upper() in labels:
        return led[1].upper(), True
    before = clauses.vocabulary.raw("options", "letter_before")
    found: set[str] = set()
    for match in re.finditer(r"(?<![a-z0-9'])[(\[]?([a-z])[)\]]?(?![a-z0-9'])", text):
        letter = match[1].upper()
        if letter not in labels or clauses.is_denied(match.start(), match.end()):
            continue
        enclosed = match[0][0] in "([" or match[0][-1] in ")]"
        if (
            enclosed
            or before.search(text[max(0, match.start() - 60) : match.start()])
            or (is_marked and not match.start() and letter != "A")
        ):
            found.add(letter)
    return (found.pop(), False) if len(found) == 1 else (None, False)


def _by_text(clauses: Clauses, labels: str, texts: Sequence[str]) -> set[str]:
    table = {
        label: re.compile(rf"(?<![a-z0-9à-ɏ]){re.escape(option)}{_ENDING if len(option) > 3 else ''}(?![a-z0-9à-ɏ])")
        for label, option in zip(labels, texts, strict=True)
        if option
    }
    claims = undecided_claims(clauses, clauses.find(table))
    return {claim.label for claim in claims if not claim.denied and not claim.is_asked}
