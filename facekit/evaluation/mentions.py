"""Finding where free text names labels, and whether it affirms or denies them.

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
    r"rules? out|excludes?|nothing|hardly|different from)\b"
)
_NOT_A_DENIAL = re.compile(r"\b(?:not only|no doubt|without (?:a |any )?doubt|no question|not just|not merely)\b")
_CLAUSE_END = re.compile(
    r"[.;:!?()\[\]\n]|\s[-–—]+\s|—|\b(?:but|however|instead(?! of)|although|though|yet|whereas|while|because|"
    r"it is|it's|this is|that is|they are|he is|she is|looks|appears|it appears|it seems)\b"
)
_DENIED_AFTER = re.compile(
    r"(?:\s*\([^)]*\))?\s*(?:(?:is|are|was|were)\s+(?:not|absent|inactive|missing|off|ruled out)\b|isn't|aren't|"
    r"(?:is|are)\s+invisible|not\s+(?:present|active|visible|detected|worn|shown)|"
    r"(?:does|do)\s+not\b|doesn't|don't|cannot\b|:\s*(?:no|none|absent|false|inactive|off|not)\b|"
    r"=\s*(?:no|false|absent)\b|\(\s*(?:absent|inactive|no)\s*\)|absent\b|inactive\b)"
)
_ASKED = re.compile(r"[^.;:!?\n]*\?")
_AND_CLAUSE = re.compile(r"\band (?:is|has|shows?|looks|wears?|with|the|an?)\b")
_BARE_DENIAL = re.compile("no|without|lacks?|lacking")
_AND_AFTER_NOUN = re.compile(r"^(?!.*\b(?:signs?|traces?|evidence|indications?|hints?) of\b).*\band\b")


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
    return re.sub(r"[ \t]+", " ", text).strip()


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
    return bool(_DENIED_AFTER.match(after) or _ASKED.match(after)) or _denied_before(text[:start], after)


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
