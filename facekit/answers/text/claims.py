"""What a statement claims of labels: where it names one, whether it denies it there, and how likely it says it is.

It is a small grammar, not language understanding: a denial reaches to the end of its clause, through a list that is
joined by "or" or "nor"; a label may be denied, or given a number, after it is named ("AU4 is absent", "fake: 20 %").
The words of the grammar are in the vocabularies.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.languages.words import Finder

NUMBER = r"(?<![\d.,])(\d{1,3}(?:[.,]\d{1,6})?)"
_PERCENTS = (
    r"%|percent\b|per cent\b|prozent\b|por ?ciento\b|por cento\b|pour cent\b|パーセント"
    r"|/ ?10\b(?= on (?:the|a)\b)|out of 10\b|von 10\b"
)
_UNIT = rf"\s?({_PERCENTS}|/ ?100\b|/ ?10\b|/ ?5\b|out of 100\b|out of 5\b|sobre 10\b|sur 10\b|de 10\b|分)?"
_WINDOW = 90
"""Characters around a label within which its number or its denial is looked for."""


@dataclass(frozen=True)
class Claim:
    """One place where a statement names a label.

    Args:
        label: The label.
        start: Index of its first character.
        end: Index after its last one.
        denied: Whether the statement says that the label does not hold.
        share: How likely it is said to be that the label holds, from 0 to 1; None where no number or degree is given.
        is_minor: Whether it is named as a mere possibility or a trace.
        is_asked: Whether it stands in a question.
        is_open: Whether the statement says that it cannot be known ("AU6 cannot be scored", "may or may not smile").
    """

    label: str
    start: int
    end: int
    denied: bool = False
    share: float | None = None
    is_minor: bool = False
    is_asked: bool = False
    is_open: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the label is said to hold; None where that is asked or left open, or as likely as not."""
        if self.is_asked or self.is_open or (self.share is not None and abs(self.share - 0.5) < 0.02):
            return None
        return not self.denied if self.share is None else self.share > 0.5


class Clauses:
    """A normalised text with the grammar of a language: where its clauses end, and what they deny.

    Args:
        text: The text; what the vocabulary rewrites is rewritten.
        vocabulary: The language.
    """

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.text, self.vocabulary = vocabulary.rewritten(text), vocabulary

    @cached_property
    def _breaks(self) -> list[int]:
        return [match.end() for match in self.vocabulary.raw("breaks").finditer(self.text)]

    @cached_property
    def _break_starts(self) -> list[int]:
        return [match.start() for match in self.vocabulary.raw("breaks").finditer(self.text)]

    @cached_property
    def _denials(self) -> list[tuple[int, int]]:
        """Words that deny what follows, without those that only look so ("no doubt", "not only")."""
        found = [match.span() for match in self.vocabulary.words("deny", "before").finditer(self.text)]
        return [each for each in found if not any(low < each[1] and each[0] < high for low, high in self._harmless)]

    @cached_property
    def _harmless(self) -> list[tuple[int, int]]:
        return [match.span() for match in self.vocabulary.words("deny", "pseudo").finditer(self.text)]

    def clause_start(self, place: int) -> int:
        """Where the clause begins that a character stands in."""
        index = bisect_right(self._breaks, place)
        return self._breaks[index - 1] if index else 0

    def clause_end(self, place: int) -> int:
        """Where the clause ends that a character stands in."""
        index = bisect_right(self._break_starts, place - 1) if place else 0
        return self._break_starts[index] if index < len(self._break_starts) else len(self.text)

    def is_after_turn(self, place: int) -> bool:
        """Whether a "but" or "however" stands before a character."""
        return bool(self.vocabulary.words("turns").search(self.text[:place]))

    def find(self, labels: Mapping[str, Finder]) -> list[Claim]:
        """Every claim of the labels, longest first where two overlap, in the order of the text."""
        spans = [
            (match.start(), match.end(), label)
            for label, pattern in labels.items()
            for match in pattern.finditer(self.text)
            if match.end() > match.start()
        ]
        kept: list[tuple[int, int, str]] = []
        taken = bytearray(len(self.text))
        for start, end, label in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
            if not any(taken[start:end]):
                kept.append((start, end, label))
                taken[start:end] = b"\x01" * (end - start)
        return [self.claim(label, start, end) for start, end, label in sorted(kept)]

    def claim(self, label: str, start: int, end: int) -> Claim:
        """What is said of a label at a place."""
        after = self.text[end : end + _WINDOW]
        denied = self.is_denied(start, end)
        share = self._share(start, end)
        if share is not None and denied and not self._denied_after(start, end):
            share = 1 - share
        asked = bool(re.match(r"[^.;:!?\n]*\?", after))
        minor = bool(self.vocabulary.raw("minor").search(self.text[max(0, start - _WINDOW) : start]))
        behind = min(self.clause_end(end), end + _WINDOW // 2)
        minor = minor or self.vocabulary.words("discourse", "second").search(self.text, end, behind) is not None
        return Claim(label, start, end, denied, share, minor, asked, self.is_open(start, end))

    def is_denied(self, start: int, end: int) -> bool:
        """Whether the words from ``start`` to ``end`` stand under a denial, or were considered and dismissed."""
        if any(low <= start < high for low, high in self._dismissed):
            return True
        denied = self._denied_after(start, end) != self._denied_before(start, end)
        return denied or self.vocabulary.raw("discourse", "not_here").search(self.text, end) is not None

    def is_open(self, start: int, end: int) -> bool:
        """Whether the words from ``start`` to ``end`` are said to be beyond knowing."""
        clause = self.clause_start(start)
        for low, high in self._unknowable:
            if clause <= low and high <= start:
                between = self.text[high:start]
            elif end <= low:
                aside = _ASIDE.match(self.text, end)
                place = _MARK.match(self.text, aside.end() if aside is not None else end).end()  # type: ignore[union-attr]
                if low >= self.clause_end(place):
                    continue
                between = self.text[place:low]
            else:
                continue
            joints = (self.vocabulary.words("joints", name) for name in ("and", "or"))
            if "," not in between or any(joint.search(between.rsplit(",", 1)[1]) for joint in joints):
                return True
        return False

    @cached_property
    def _unknowable(self) -> list[tuple[int, int]]:
        return [match.span() for match in self.vocabulary.words("discourse", "unknowable").finditer(self.text)]

    @cached_property
    def _dismissed(self) -> list[tuple[int, int]]:
        """Spans of what was considered and dismissed: "I first thought of fear, but …", "what I left out: AU14"."""
        turns = self.vocabulary.words("turns")
        spans: list[tuple[int, int]] = []
        for match in self.vocabulary.words("discourse", "first_thoughts").finditer(self.text):
            turn = turns.search(self.text, match.end())
            if turn is not None:
                spans.append((self._sentence_start(match.start()), turn.start()))
        for match in self.vocabulary.words("discourse", "discarded").finditer(self.text):
            end = next((stop for stop in self._turning_points if stop >= match.end()), len(self.text))
            if not any(low <= match.start() < high for low, high in self._harmless):
                spans.append((self._sentence_start(match.start()), end))
        return spans

    @cached_property
    def _turning_points(self) -> list[int]:
        """Where a clause ends by a word ("but", "so") and not by a mark."""
        found = self.vocabulary.raw("breaks").finditer(self.text)
        return [match.start() for match in found if re.search(r"\w", match[0])]

    def _sentence_start(self, place: int) -> int:
        """Where the sentence begins that a character stands in, or its part behind the last "but"."""
        start = max((self.text.rfind(mark, 0, place) + 1 for mark in ".;!?。！？；"), default=0)
        for match in self.vocabulary.words("turns").finditer(self.text, start, place):
            start = match.end()
        return start

    def _denied_after(self, start: int, end: int) -> bool:
        after = self.text[end : end + 2 * _WINDOW]
        if self._negative_value.match(after):
            return True
        match = self.vocabulary.raw("deny", "after").match(after)
        if match is None and (aside := _ASIDE.match(after)) is not None:
            after = after[aside.end() :]
            match = self.vocabulary.raw("deny", "after").match(after)
        if match is None:
            return bool(self.vocabulary.raw("deny", "after_list").match(after))
        harmless = self.vocabulary.words("deny", "pseudo").finditer(after[: match.end() + 6])
        return not any(low < match.end() <= high for low, high in (each.span() for each in harmless))

    @cached_property
    def _negative_value(self) -> re.Pattern[str]:
        """What gives a label the value no, in any language: ": false", "- falso", "= -1"."""
        return self.vocabulary.pattern(
            "negative value",
            lambda own: (
                rf"(?:\s?\([^)]{{0,60}}\))?\s*(?:(?:[:=|]+|\s-+|,)\s*(?:{own.words('no').pattern})(?=\s*(?:$|[.,;:()\n]|-\s))"
                rf"|\s+(?:{own.words('no').pattern})(?=\s*(?:$|[.,;]))"
                r"|[:=|]+\s*-1(?![\d.])|[:=|]+\s*0+(?:[.,]0+)?(?![\d.,]*\d)(?!\s*[-/]))"
            ),
        )

    def _denied_before(self, start: int, end: int) -> bool:
        text = self.text
        clause = self.clause_start(start)
        if self.vocabulary.raw("deny", "adjacent").search(text[max(clause, start - 30) : start]):
            return True
        denials = [each for each in self._denials if clause <= each[0] and each[1] <= start]
        if not denials:
            return False
        low, high = denials[-1]
        since = text[high:start]
        if self.vocabulary.words("deny", "and_clause").search(since):
            return False
        if self.vocabulary.words("deny", "bare").fullmatch(text[low:high]) and (
            self.vocabulary.words("joints", "and").search(since)
            and not self.vocabulary.words("deny", "signs").search(since)
        ):
            return False
        if "," not in since or self.vocabulary.raw("deny", "carried").match(since):
            return True
        rest = text[end : self.clause_end(end)]
        return bool(self.vocabulary.words("joints", "or").search(since.rsplit(",", 1)[1] + rest))

    def _share(self, start: int, end: int) -> float | None:
        clause = self.text[self.clause_start(start) : start][-_WINDOW:]
        after = self.text[end : end + _WINDOW]
        return self._share_after(clause, after) if (found := self._share_before(clause)) is None else found

    def _share_before(self, clause: str) -> float | None:
        """From "20 % chance of …", "80 % …", "a low likelihood of …"."""
        chance, sure = self.vocabulary.words("chance", "words"), self.vocabulary.words("chance", "sure")
        number = None
        for number in _PERCENT.finditer(clause):  # noqa: B007
            pass
        if number is not None:
            rest = clause[number.end() :]
            if sure.search(clause) or "," in rest or self.vocabulary.words("chance", "part_of").match(rest.lstrip()):
                return None
            if not rest.strip() or chance.search(clause):
                return read_share(number[1], number[2])
            return None
        for level, share in _LEVELS:
            match = self.vocabulary.raw("chance", f"{level}_before").search(clause)
            if match and "," not in clause[match.end() :]:
                return share
        return None

    def _share_after(self, clause: str, after: str) -> float | None:
        """From "…: 20 %", "… likelihood is low", "(chance of) … is 0.1"."""
        joint = self._joint.match(after)
        if joint is None:
            return None
        between, rest = joint[0], after[joint.end() :]
        chance = self.vocabulary.words("chance", "words")
        said = bool(chance.search(between) or chance.search(clause))
        if self.vocabulary.words("chance", "sure").search(between):
            return None
        number = _VALUE.match(rest)
        if number is not None:
            if re.search(r"[:=|]\s*-$", between):
                return 0.0
            is_plain = number[2] is None and not said
            if is_plain and ((number[1].isdigit() and int(number[1]) > 1) or not re.search(r"[:=(|\[]", between)):
                return None
            return read_share(number[1], number[2])
        if said or ":" in between:
            for level, share in _LEVELS:
                if self.vocabulary.words("chance", level).match(rest) and (said or level == "low_word"):
                    return share
        return None

    @cached_property
    def _joint(self) -> re.Pattern[str]:
        def written(own: Vocabulary) -> str:
            kinds = ("joints", "words", "sure")
            entries = [word for kind in kinds for word in own.entries("chance", kind)]
            words = "|".join(sorted(entries, key=len, reverse=True))
            return rf"(?:\s|[:=()\[|,~≈-]|(?:{words})(?![a-zà-ɏ])){{0,14}}"

        return self.vocabulary.pattern("joint", written)


_PERCENT = re.compile(rf"{NUMBER}\s?({_PERCENTS})")
_VALUE = re.compile(NUMBER + _UNIT + r"(?![\d-])")
_MARK = re.compile(r"\s*(?:[:=|]+|\s-\s)?\s*")
_ASIDE = re.compile(r"\s?\([^)]{0,60}\)")
_LEVELS = (("low", 0.1), ("high", 0.9), ("middle", 0.5))


def read_share(number: str, unit: str | None) -> float | None:
    """A number with its unit as a share from 0 to 1: "20" and "%", "0.2", "2" and "/10"; None where it is none."""
    value = float(number.replace(",", "."))
    whole = re.search(r"\d+", unit or "")
    if whole is not None:
        value /= int(whole[0])
    elif unit or value > 1:
        value /= 100
    return value if 0 <= value <= 1 else None


def affirmed(claims: Iterable[Claim]) -> set[str]:
    """Labels that are said to hold at some place."""
    return {claim.label for claim in claims if claim.holds}


def shifted(claim: Claim, by: int) -> Claim:
    """The same claim at another place."""
    return replace(claim, start=claim.start + by, end=claim.end + by)
