"""Extraction of the chosen option from a multiple-choice reply: the published rule, and a strict one.

The published numbers of FaceXBench depend on a lenient rule, by which a reply that begins "A person…" chooses A.
Comparable numbers need it; the strict rule beside it shows how much it matters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

_LETTER = r"[A-Z]"
_SHAPES = tuple(
    re.compile(shape)
    for shape in (
        rf"\(?\b({_LETTER})\b\)?",
        rf"Option\s+({_LETTER})\b",
        rf"\b({_LETTER})\.",
        rf"\b({_LETTER}):",
        rf"\b({_LETTER})\s*-",
        rf"\(({_LETTER})\)",
    )
)
_STRICT = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_STRICT_STATED = re.compile(
    r"(?:the )?(?:correct |final |best )?(?:answer|option|choice)(?: is)?\s*:?\s*(?:option )?\(?([A-Z])\)?[.]?",
    re.IGNORECASE,
)


def option_labels(count: int) -> str:
    """The letters of so many options: ``ABCD`` for four."""
    return ascii_uppercase[:count]


def extract_published(reply: str, options: Sequence[str]) -> str | None:
    """Read an option as the published numbers of FaceXBench do.

    The stripped reply is tested against shapes in order, each first at the start of the reply and then anywhere: a lone
    letter with or without parentheses, ``Option X``, ``X.``, ``X:``, ``X -``, ``(X)``. The first match whose letter is
    an option's label wins; letters are upper case. Failing that, the first option whose text is the reply or occurs in
    it.

    Args:
        reply: What the model said.
        options: The texts of the options.

    Returns:
        A letter, or None, which is scored as wrong.
    """
    reply, labels = reply.strip(), option_labels(len(options))
    for shape in _SHAPES:
        for match in (shape.match(reply), *shape.finditer(reply)):
            if match is not None and match[1] in labels:
                return match[1]
    for label, option in zip(labels, options, strict=True):
        if option == reply or (option and option in reply):
            return label
    return None


def extract_strict(reply: str, options: Sequence[str]) -> str | None:
    """Read an option only where the reply is nothing else, or ends in a line that says which.

    Counts: the letter alone, in any case, with or without parentheses, a full stop or a colon; the letter with the
    option's own text; the option's text alone, in any case; and a last line such as "The answer is (B)." or
    "Answer: B. 30-39". A reply that names several options counts as none.

    Args:
        reply: What the model said.
        options: The texts of the options.

    Returns:
        A letter, or None, which is scored as wrong.
    """
    labels = option_labels(len(options))
    lines = [line.strip().strip("*` ") for line in reply.strip().splitlines() if line.strip()]
    if not lines:
        return None
    whole = lines[0] if len(lines) == 1 else ""
    for text in dict.fromkeys((whole, lines[-1])):
        label = _read_line(text, options, labels, bare=text == whole)
        if label is not None:
            return label
    return None


def _read_line(text: str, options: Sequence[str], labels: str, *, bare: bool) -> str | None:
    stated = _STRICT_STATED.match(text)
    letter = stated or (_STRICT.match(text) if bare else None)
    if letter is not None and letter[1].upper() in labels:
        label = letter[1].upper()
        rest = _simplify(text[letter.end() :])
        if rest in ("", _simplify(options[labels.index(label)])):
            return label
    if not bare:
        return None
    same = [label for label, option in zip(labels, options, strict=True) if _simplify(option) == _simplify(text)]
    return same[0] if len(same) == 1 else None


def _simplify(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip(" .:*()`\"'-")).casefold()
