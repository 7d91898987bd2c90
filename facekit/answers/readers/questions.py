"""``Asked``: what a yes/no question asks for, where no vocabulary has a label for it, and what a statement says of it.

A statement that has all content words of the question, or its last ones, answers it: yes, or no where they are denied.
So does one that leaves them out ("It is, slightly."), and a number of things where more than one is asked for.
"""

from __future__ import annotations

import re
from functools import cached_property

from facekit.answers.languages.numbers import digits_for_words
from facekit.answers.languages.telling import vocabularies_for
from facekit.answers.languages.vocabulary import Vocabulary, common_words
from facekit.answers.readers.shape import RULES, Outcome, Rank, group_of, is_conclusion, is_undecided, mark_of
from facekit.answers.reading import Rule
from facekit.answers.text.claims import Clauses
from facekit.answers.text.normalising import normalise_words
from facekit.answers.text.statements import Statement

_WORD = re.compile(r"[a-z0-9\u00c0-\u024f][\w'-]*|[\u4e00-\u9fff々]+|[\u30a0-\u30ff]{2,}")
_IDEOGRAPH = re.compile(r"[\u4e00-\u9fff]")
_SHORTEST_STEM = 3
_ENDINGS = re.compile(
    r"(?:ingly|ings?|edly|ed|ies|ied|es|s|ly|er|e|en|n|em|et|te|st|a|o|as|os|ada|ado|adas|ados|ando|iendo|ée?s?|er|nt|ent|ant)$"
)


class Asked:
    """What a question asks for.

    Args:
        question: The question.
    """

    def __init__(self, question: str) -> None:
        self._question = normalise_words(question)

    @cached_property
    def _vocabulary(self) -> Vocabulary | None:
        return next(iter(vocabularies_for(self._question)), None) if self._question else None

    @cached_property
    def stems(self) -> list[str]:
        """Beginnings of the question's content words, without those that every question about a face has."""
        vocabulary = self._vocabulary
        if vocabulary is None:
            return []
        text = vocabulary.words("discourse", "several_asked").sub(" ", self._question)
        text = vocabulary.words("asking").sub(" ", text)
        common = common_words().get(vocabulary.name, frozenset())
        words = [word for word in _WORD.findall(text) if word not in common and (len(word) > 2 or _is_ideograph(word))]
        return [word if _is_ideograph(word) else _stem(word) for word in words]

    def outcome(self, statement: Statement, vocabulary: Vocabulary, number: int) -> Outcome[bool] | None:
        """What a statement says of what is asked for; None where it says nothing of it."""
        clauses = Clauses(statement.text, vocabulary)
        for kind, says in (("ellipsis_no", False), ("ellipsis_yes", True)):
            if vocabulary.raw("discourse", kind).match(clauses.text):
                rank = Rank.CONCLUSION if number == 0 or statement.is_alone else Rank.STATEMENT
                return Outcome(says, rank, Rule.STATEMENT, statement.source)
        value = self._count(clauses, vocabulary)
        value = self._content(clauses) if value is None else value
        if value is None or is_undecided(clauses.text, vocabulary):
            return None
        mark = mark_of(statement, vocabulary, "attributes")
        rank = mark or (Rank.CONCLUSION if is_conclusion(clauses.text, vocabulary) else Rank.SUBJECT)
        return Outcome(value, rank, RULES[rank], statement.source, group_of(statement, mark, is_bare=False))

    def _count(self, clauses: Clauses, vocabulary: Vocabulary) -> bool | None:
        """Whether there are several where the question asks for more than one."""
        own = self._vocabulary
        if own is None or not own.words("discourse", "several_asked").search(self._question):
            return None
        if self.stems and not any(stem in clauses.text for stem in self.stems):
            return None
        wanted = _amount(self._question, own)
        counted = _amount(clauses.text, vocabulary)
        if wanted is not None and counted is not None:
            return counted == wanted
        single = vocabulary.words("discourse", "single").search(clauses.text)
        several = vocabulary.words("discourse", "several").search(clauses.text)
        if several is not None and (single is None or len(several[0]) > len(single[0])):
            return not clauses.is_denied(several.start(), several.end())
        return False if single is not None and several is None else None

    def _content(self, clauses: Clauses) -> bool | None:
        """Yes where the statement has the content words of the question, no where the last of them is denied."""
        stems = self.stems
        if not stems:
            return None
        opposite = self._opposite(clauses)
        if opposite is not None:
            return opposite
        places = [_find(clauses.text, stem) for stem in stems]
        if _is_ideograph(stems[-1]):
            places = places[-1:]
        if len(places) > 1 and clauses.vocabulary.words("discourse", "pronouns").search(clauses.text):
            places = places[1:]
        if any(place is None for place in places):
            return None
        last = max((place for place in places if place is not None), key=lambda place: place[0])
        claims = [clauses.claim("", *place) for place in places if place is not None]
        if any(claim.holds is None for claim in claims) or clauses.is_open(*last):
            return None
        return not any(claim.denied for claim in claims)

    def _opposite(self, clauses: Clauses) -> bool | None:
        """No where the statement has an opposite of what is asked for, such as "open" for "closed"."""
        if self._vocabulary is None:
            return None
        pronoun = clauses.vocabulary.words("discourse", "pronouns").search(clauses.text)
        for pair in self._vocabulary.entries("antonyms"):
            sides = [side for side in pair if re.search(side, self._question)]
            if len(sides) != 1 or re.search(sides[0], clauses.text):
                continue
            asked, other = sides[0], next(side for side in pair if side != sides[0])
            found = re.search(other, clauses.text)
            stems = [stem for stem in self.stems if not re.search(rf"\b{re.escape(stem)}", asked.replace("\\b", " "))]
            if found is not None and (pronoun is not None or any(_find(clauses.text, stem) for stem in stems)):
                return clauses.is_denied(found.start(), found.end())
        return None


def _amount(text: str, vocabulary: Vocabulary) -> int | None:
    """The first number from two to twenty of a text, in digits or words."""
    found = re.search(r"(?<![\d.,])([2-9]|1\d|20)(?![\d.,]*\d)", digits_for_words(text, vocabulary))
    return int(found[1]) if found is not None else None


def _is_ideograph(word: str) -> bool:
    return _IDEOGRAPH.match(word) is not None


def _stem(word: str) -> str:
    stem = _ENDINGS.sub("", word)
    return stem if len(stem) >= _SHORTEST_STEM else word


def _find(text: str, stem: str) -> tuple[int, int] | None:
    """Where a word with a stem stands in a text."""
    if _is_ideograph(stem):
        pattern = "[着著了过過到]?".join(map(re.escape, stem))
    else:
        pattern = rf"(?<![a-z0-9\u00c0-\u024f]){re.escape(stem)}[a-z\u00c0-\u024f]{{0,6}}"
    match = re.search(pattern, text)
    return match.span() if match is not None else None
