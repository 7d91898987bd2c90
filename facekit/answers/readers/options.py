"""``read_option``: the option of a multiple-choice question that an answer commits itself to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from string import ascii_uppercase

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.languages.words import Finder, compile_words
from facekit.answers.readers.scores import first_ranked, highest_score
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
    undecided_claims,
    verdict_of,
)
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Clauses
from facekit.answers.text.normalising import normalise_words, unified
from facekit.answers.text.statements import Answer, Statement

_BARE = re.compile(
    r"[\s(\[{]*(?:option|choice|opci[oó]n|opção|选项|選択肢|antwort)?\s*[(\[]?([a-z])[)\]}]?(?:です|だと思います|でしょう)?[\s.:,!。]*"
)
_ENDING = "(?:e[nrsm]?|s)?"
_MARKED = (Rule.BOXED, Rule.TAGGED)
_ANY_LETTER = re.compile(r"(?<![a-z0-9'])[(\[]?([a-z])[)\]]?(?![a-z0-9'])")
_ARTICLE = re.compile(r"[aoe] (?:option |letra |opción |opção )?[a-z](?![a-z0-9])")
"""A word of one letter before an option's letter: "a alternativa é a C"."""
_CAPITAL = re.compile(
    r"(?<![\w'])([B-HJ-Z])(?![\w'])|(?<![\w'])(A)(?![\w'])(?!\s+[a-z]{3})"
    r"|(?<![\w'])(A)(?=\s(?:and|or|und|oder|just|y|o|et|ou|e)\s)"
)
_LISTED = re.compile(r"(?<![a-z0-9'])\(?([a-z])(?:[.):](?=\s)|,(?=\s[a-z](?![a-z])))")
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
    outcomes: list[Outcome[str] | None] = []
    led: set[str] = set()
    denied: set[str] = set()
    for number, statement in enumerate(answer.statements):
        outcomes.append(_outcome(statement, vocabulary, labels, texts, number))
        led |= _led_by(statement, labels)
        denied |= _denied_letters(statement, vocabulary, labels, texts)
    if len(led) > 1:  # each option is weighed on a line of its own: none of these lines chooses
        outcomes = [
            None if outcome is not None and outcome.rank < Rank.FIELD and _led_by(statement, labels) else outcome
            for outcome, statement in zip(outcomes, answer.statements, strict=True)
        ]
        outcomes.append(_ticked(answer, vocabulary, labels))
    outcomes.append(_left_over(answer, vocabulary, labels, denied, outcomes))
    table = _table(labels, texts, with_letters=True)
    outcomes += [highest_score(answer, vocabulary, table), first_ranked(answer, vocabulary, table)]
    return strongest(outcomes, answer, vocabulary)


def _led_by(statement: Statement, labels: str) -> set[str]:
    """The letter of the option that a line is about: "B: no smile"; none for a letter alone or with a full stop."""
    match = _LED.match(statement.text) if not _BARE.fullmatch(statement.text) else None
    return {match[1].upper()} & set(labels) if match is not None else set()


def _ticked(answer: Answer, vocabulary: Vocabulary, labels: str) -> Outcome[str] | None:
    """The one option whose line says that it is right, of options that are weighed line by line."""
    right: dict[str, str] = {}
    led: set[str] = set()
    for statement in answer.statements:
        led = _led_by(statement, labels) or (led if statement.topic else set())
        if led and verdict_of(statement.value if _led_by(statement, labels) else statement.text, vocabulary):
            right[next(iter(led))] = statement.source
    if len(right) != 1:
        return None
    label, span = next(iter(right.items()))
    return Outcome(label, Rank.CONCLUSION, Rule.LIST, span)


def _denied_letters(statement: Statement, vocabulary: Vocabulary, labels: str, texts: Sequence[str]) -> set[str]:
    claims = Clauses(statement.text, vocabulary).find(_table(labels, texts, with_letters=True))
    return {claim.label for claim in claims if claim.denied}


def _left_over(
    answer: Answer, vocabulary: Vocabulary, labels: str, denied: set[str], outcomes: Sequence[Outcome[str] | None]
) -> Outcome[str] | None:
    """The one option that is not ruled out, where the answer says that it is what remains."""
    left = [label for label in labels if label not in denied]
    says = [each for each in answer.statements if vocabulary.words("discourse", "remains").search(each.text)]
    if len(left) != 1 or not says or any(each is not None and each.rank >= Rank.FIELD for each in outcomes):
        return None
    return Outcome(left[0], Rank.CONCLUSION, Rule.CONCLUSION, says[-1].source)


def _outcome(
    statement: Statement, vocabulary: Vocabulary, labels: str, texts: Sequence[str], number: int
) -> Outcome[str] | None:
    is_letter = len(statement.key) == 1 and statement.key.upper() in labels
    mark = mark_of(statement, vocabulary, "option") if not is_letter or statement.rule in _MARKED else None
    text, is_final = final_part(statement.text, vocabulary)
    if mark not in (None, Rank.ASIDE):
        text, _ = final_part(statement.value or text, vocabulary)
    elif is_final and mark is None:
        mark = Rank.FIELD
    opening = Rank.CONCLUSION if number == 0 or statement.is_alone else Rank.STATEMENT
    clauses = Clauses(text, vocabulary)
    letters, is_plain = _by_letter(clauses, statement, labels, is_marked=mark is not None)
    named = _by_text(clauses, labels, texts)
    if not letters and not named:
        letters = _by_ordinal(clauses, labels)
    if not letters and not named:
        if is_undecided(text, vocabulary):
            return Outcome(None, mark or Rank.UNDECIDED, Rule.UNDECIDED, statement.source)
        return None
    chosen = letters or named
    if len(letters) == 1 and len(named) == 1 and letters != named and _LED.match(text) and is_plain:
        chosen = letters | named  # a letter beside another option's text
    label = next(iter(chosen)) if len(chosen) == 1 else None
    rank = mark or (opening if is_plain else Rank.SUBJECT)
    if mark is None and is_conclusion(text, vocabulary):
        rank = Rank.CONCLUSION
    if not letters and mark is None:
        alone = any(text.strip(" .") == option for option in texts)
        rank = rank if rank is Rank.CONCLUSION else opening if alone else Rank.MENTION
    group = group_of(statement, mark, is_bare=is_plain and len(text) < 6)
    return Outcome(label, rank, Rule.CONTRADICTORY if label is None else RULES[rank], statement.source, group)


def _by_letter(clauses: Clauses, statement: Statement, labels: str, *, is_marked: bool) -> tuple[set[str], bool]:
    """The options named by their letters, and whether the statement begins with one."""
    text = clauses.text
    bare = _BARE.fullmatch(text)
    led = bare or _LED.match(text)
    several = {letter.upper() for letter in _LISTED.findall(text)} & set(labels)
    if len(several) > 2:
        return several, False
    if led is not None and led[1].upper() in labels and (bare is not None or not _denies_lead(clauses, led)):
        return {led[1].upper()}, True
    before = clauses.vocabulary.raw("options", "letter_before")
    strong: set[str] = set()
    weak: set[str] = set()
    for match in _ANY_LETTER.finditer(text):
        letter = match[1].upper()
        if letter not in labels or clauses.is_denied(match.start(), match.end()):
            continue
        if _ARTICLE.match(text, match.start()) or _letter_open(clauses, match):
            continue
        enclosed = match[0][0] in "([" or match[0][-1] in ")]"
        leads = is_marked and not match.start() and (letter != "A" or not re.match(r"\s[a-z]", text[match.end() :]))
        if enclosed or leads or before.search(text[max(0, match.start() - 60) : match.start()]):
            strong.add(letter)
        elif letter.lower() in statement.bold or (match.end() == len(text.rstrip(" .!")) and letter != "A"):
            weak.add(letter)
    capitals = {letter for groups in _CAPITAL.findall(statement.source) if (letter := "".join(groups)) in labels}
    weak |= {letter for letter in capitals if not _letter_denied(clauses, letter)}
    return strong or weak, False


def _letter_open(clauses: Clauses, match: re.Match[str]) -> bool:
    return clauses.is_open(match.start(), match.end())


def _by_ordinal(clauses: Clauses, labels: str) -> set[str]:
    """The option that is chosen by its place: "I settle on the second"."""
    vocabulary = clauses.vocabulary
    if vocabulary.words("discourse", "chooses").search(clauses.text) is None:
        return set()
    entries = vocabulary.entries("discourse", "ordinals")
    found = set()
    for place, entry in enumerate(entries):
        match = compile_words([entry]).search(clauses.text)
        if match is not None and place % 5 < len(labels) and not clauses.is_denied(match.start(), match.end()):
            found.add(labels[place % 5])
    return found


def _denies_lead(clauses: Clauses, led: re.Match[str]) -> bool:
    return clauses.is_denied(led.start(1), led.end(1))


def _letter_denied(clauses: Clauses, letter: str) -> bool:
    found = re.search(rf"(?<![a-z]){letter.lower()}(?![a-z])", clauses.text)
    return found is not None and clauses.is_denied(found.start(), found.end())


def _table(labels: str, texts: Sequence[str], *, with_letters: bool = False) -> dict[str, Finder]:
    """Options' letters to patterns of their texts, and of the letters themselves behind "option" or before a number."""
    return {
        label: _option(option, label.lower() if with_letters else "")
        for label, option in zip(labels, texts, strict=True)
        if option
    }


@lru_cache(maxsize=1024)
def _option(option: str, letter: str) -> re.Pattern[str]:
    named = rf"(?<![a-z0-9à-ɏ]){re.escape(option)}{_ENDING if len(option) > 3 else ''}(?![a-z0-9à-ɏ])"
    if letter:
        named += rf"|(?<![a-z0-9à-ɏ]){letter}(?=[):=|]|\s?[(:=|-]|,|\s-|\.?$)(?!')"
    return re.compile(named)


def _by_text(clauses: Clauses, labels: str, texts: Sequence[str]) -> set[str]:
    claims = undecided_claims(clauses, clauses.find(_table(labels, texts)))
    return {claim.label for claim in claims if not claim.denied and not claim.is_asked}
