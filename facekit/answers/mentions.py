"""Label mentions in free text, each affirmed or denied.

The answer parsers of all tasks share this reading of negation, so it is apart from them. It is a small grammar, not
language understanding: a denial ("no", "not", "without", "rather than", …) reaches to the end of its clause, through
a list that is joined by "or" or "nor", and a label may also be denied after it is named ("AU4 is absent").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

_DENIAL = re.compile(
    r"\b(?:not|no|non|never|neither|nor|without|lacks?|lacking|cannot|can't|isn't|aren't|wasn't|doesn't|does not|don't|"
    r"didn't|hasn't|haven't|won't|rather than|instead of|as opposed to|unlike|absence of|free of|free from|devoid of|"
    r"rules? out|excludes?|nothing|hardly|different from|(?:rather|more) \w[^.;,]{0,40} than)\b"
)
_NOT_A_DENIAL = re.compile(r"\b(?:not only|no doubt|without (?:a |any )?doubt|no question|not just|not merely)\b")
_CLAUSE_END = re.compile(
    r"[.;:!?()\[\]\n]|\s[-–—]+\s|—|\b(?:but|however|instead(?! of)|although|though|yet|whereas|while|because|"
    r"it is|it's|this is|that is|they are|he is|she is|looks|appears|it appears|it seems)\b"
)
_DENIED_AFTER = re.compile(
    r"(?:[ \t]*\([^)]*\))?[ \t]*(?:(?:is|are|was|were)\s+(?:not|absent|inactive|missing|off|ruled out)\b|isn't|aren't|"
    r"(?:is|are)\s+invisible|not\s+(?:present|active|visible|detected|worn|shown)|"
    r"(?:does|do)\s+not\b|doesn't|don't|cannot\b|[:=|-]+\s*(?:no|none|absent|false|inactive|off|not)\b|"
    r"[:=]\s*0(?![\d.]*[1-9])\b|\(\s*(?:absent|inactive|no)\s*\)|absent\b|inactive\b)"
)
_LIST_WORD = r"(?!(?:but|not|only|and|or|are|were|do|have)\b)[\w'-]++"
_LIST_DENIED_AFTER = re.compile(
    rf"(?:\s*(?:,\s*(?:and\b|or\b)?|and\b|or\b|&|/)\s*{_LIST_WORD}(?: {_LIST_WORD}){{0,3}})+"
    r"\s+(?:are|were|do|have)\s+(?:not|absent|inactive|missing)\b"
)
_DENYING_HEADING = re.compile(
    r"\b(?:inactive|absent|missing|not (?:active|present|visible|detected))\b[^:\n.;,]{0,20}:\s*[^\n.;:\]]*$"
)
_ASKED = re.compile(r"[^.;:!?\n]*\?")
_AND_CLAUSE = re.compile(r"\band (?:is|has|shows?|looks|wears?|with|the|an?)\b")
_BARE_DENIAL = re.compile("no|without|lacks?|lacking")
_AND_AFTER_NOUN = re.compile(r"^(?!.*\b(?:signs?|traces?|evidence|indications?|hints?) of\b).*\band\b")


_REWRITINGS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\bi(?:'m| am) afraid\b|\bi(?:'m| am|'d be| would be) (?:happy|glad|pleased) to\b", ""),
        (
            r"\b(?:do not|don't|can't|cannot) (?:think|believe|feel|say)(?: that)? "
            r"((?:it|this|that|she|he|they|the \w+|this \w+)(?: \w+)?)(?:'s| is| are| looks?| seems?| appears?)\b",
            r"\1 is not",
        ),
        (r"\bnot that (?:it|she|he|they)(?:'s| is| are)\b", "not"),
        (r"\bnothing (?:[\w-]+ ){0,5}?(?:looks|seems|appears|suggests|indicates|points to)\b", "nothing"),
        (
            r"\b(?:unable to|cannot|can't|could not|couldn't|impossible to|hard to|difficult to|"
            r"not (?:able|possible) to|not sure|unsure|unclear|uncertain)\b[^.;\n]{0,40}\b(?:whether|if|authenticity)\b"
            r"[^.;,\n]*",
            "",
        ),
    )
)
"""Turns of phrase that would be misread word by word, and what is read instead."""

_OPENING_CONCESSION = re.compile(
    r"(?:^|(?<=[.;:\n]))\s*(?:although|though|even though|even if|while|whereas)\b[^.;,\n]*,"
)
_CLOSING_CONCESSION = re.compile(r",?\s*\b(?:although|though|even though|even if|whereas)\b[^.;\n]*")
_FIRST_SIGHT = re.compile(r"[^.;,\n]*\bat (?:first|a first) (?:sight|glance)\b(?:(?!\bbut\b|\bhowever\b)[^.;\n])*")
_VALUE = re.compile(r"\s*[:=(]\s*(?:p\s*=\s*)?(\d+(?:\.\d+)?)\s*(%?)\s*(?=[),;}\n|]|$|and\b)")


@dataclass(frozen=True)
class Mention:
    """One place where a text names a label.

    Args:
        label: The label.
        start: Index of its first character in the normalised text.
        end: Index after its last character.
        denied: Whether the text says that the label does not hold.
    """

    label: str
    start: int
    end: int
    denied: bool


def normalise_answer(text: str) -> str:
    """Lower the case, unify quotes, dashes and spaces, and drop Markdown emphasis and CelebA's underscores."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = text.replace("’", "'").replace("‘", "'").replace("–", "-").replace("‐", "-").replace("‑", "-")
    text = re.sub(r"[*`\"]", "", text).replace("_", " ")
    text = re.sub(r"[ \t]+", " ", text).strip()
    for pattern, replacement in _REWRITINGS:
        text = pattern.sub(replacement, text)
    return text


def without_concessions(text: str) -> str:
    """A normalised answer without what it concedes: "although it looks fake, …", "… at first sight, but …"."""
    for pattern in (_OPENING_CONCESSION, _FIRST_SIGHT, _CLOSING_CONCESSION):
        text = pattern.sub(" ", text)
    return text


def highest_valued(text: str, mentions: Iterable[Mention]) -> str | None:
    """The label with the highest number behind it ("happiness: 0.8, sadness: 0.1"), or None.

    Args:
        text: A normalised answer.
        mentions: Mentions in it; at least two different labels must bear a number, and none may share the highest.
    """
    values: dict[str, float] = {}
    for mention in mentions:
        match = _VALUE.match(text, mention.end)
        if match:
            values[mention.label] = max(values.get(mention.label, 0.0), float(match[1]))
    ranked = sorted(values, key=lambda label: values[label], reverse=True)
    if len(ranked) < 2 or values[ranked[0]] == values[ranked[1]]:
        return None
    return ranked[0]


@cache
def compile_words(words: tuple[str, ...]) -> re.Pattern[str]:
    """One pattern for any of the words, whole; a space in a word matches spaces or hyphens."""
    alternatives = "|".join(re.sub(r" (\??)", lambda gap: f"[ -]{gap[1] or '+'}", word) for word in words)
    return re.compile(rf"(?<![\w])(?:{alternatives})(?![\w])")


def find_mentions(text: str, words: Mapping[str, Iterable[str]]) -> list[Mention]:
    """Find every mention of the labels, longest first where two overlap, in the order of the text.

    Args:
        text: A normalised answer.
        words: Label to the regular expressions that name it.
    """
    found = [
        (match.start(), match.end(), label)
        for label, forms in words.items()
        if forms
        for match in compile_words(tuple(forms)).finditer(text)
    ]
    kept: list[tuple[int, int, str]] = []
    for start, end, label in sorted(found, key=lambda item: (item[0] - item[1], item[0])):
        if all(end <= other_start or start >= other_end for other_start, other_end, _ in kept):
            kept.append((start, end, label))
    return [Mention(label, start, end, is_denied(text, start, end)) for start, end, label in sorted(kept)]


def affirmed_labels(mentions: Iterable[Mention]) -> set[str]:
    """Labels that are named and not denied at some place."""
    return {mention.label for mention in mentions if not mention.denied}


def is_denied(text: str, start: int, end: int) -> bool:
    """Whether the words from ``start`` to ``end`` of a normalised answer stand under a denial, or are only asked."""
    after = text[end:]
    denied_after = _DENIED_AFTER.match(after) or _LIST_DENIED_AFTER.match(after) or _ASKED.match(after)
    return bool(denied_after or _DENYING_HEADING.search(text[:start])) or _denied_before(text[:start], after)


def _denied_before(before: str, after: str) -> bool:
    clause_start = max((match.end() for match in _CLAUSE_END.finditer(before)), default=0)
    clause = _NOT_A_DENIAL.sub(" ", before[clause_start:])
    denials = list(_DENIAL.finditer(clause))
    if not denials:
        return False
    since = clause[denials[-1].end() :]
    if _AND_CLAUSE.search(since) or (_BARE_DENIAL.fullmatch(denials[-1][0]) and _AND_AFTER_NOUN.search(since)):
        return False
    if "," not in since:
        return True
    rest = re.split(_CLAUSE_END, after, maxsplit=1)[0]
    return bool(re.search(r"\b(?:or|nor)\b", since.rsplit(",", 1)[1] + rest))
