"""Detection of refusals in the most spoken languages; the phrases are in ``refusals.yaml``.

A refusal is an apology followed by an inability, or an inability to do what an assistant is asked for, at the beginning
of a text or, in a short text, of one of its sentences.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources

import yaml

SHORT = 400
"""Characters up to which every sentence of a text is looked at, not only the first."""
_BEHIND = 80
"""Characters between an apology and the inability, or between an inability and what is declined."""

_SENTENCE = re.compile(r"(?<=[.!?。！？।؟])\s*|\n+")


def is_refusal(text: str) -> bool:
    """Whether a text declines to answer."""
    text, refusal = text.strip(), _refusal()
    if refusal.match(text):
        return True
    if len(text) > SHORT:
        return False
    ends = [match.end() for match in _SENTENCE.finditer(text)]
    return any(refusal.match(text, end) for end in ends if end < len(text))


@lru_cache(maxsize=1)
def _words() -> dict[str, dict[str, list[str]]]:
    words: dict[str, dict[str, list[str]]] = yaml.safe_load(
        (resources.files("facekit.endpoints") / "refusals.yaml").read_text(encoding="utf-8")
    )
    return words


@lru_cache(maxsize=1)
def _refusal() -> re.Pattern[str]:
    patterns: list[str] = []
    for words in _words().values():
        patterns += [
            rf"(?:{'|'.join(words[first])}).{{0,{_BEHIND}}}?(?:{'|'.join(words[second])})"
            for first, second in (("apologies", "unable"), ("begins", "tasks"))
        ]
        patterns += words.get("whole", ())
    return re.compile(rf"\W*(?:{'|'.join(patterns)})", re.IGNORECASE | re.DOTALL)
