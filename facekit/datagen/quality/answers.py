"""What can be seen from an answer alone: that it is a refusal, empty, cut off, or speaks of the label it was given.

The patterns are matched against the start of an answer for refusals, and against all of it for leaks.
"""

from __future__ import annotations

import re

from facekit.endpoints.requests import Reply, Review

REFUSED, EMPTY, SHORT, CUT_OFF, LEAKS = "refusal", "empty", "too short", "cut off", "speaks of the given label"
"""Reasons for which an answer is not used, as they stand before the colon of a recorded reason."""

LONG_ANSWER = 30
"""Words from which an answer that ends without punctuation counts as cut off."""

_REFUSAL = re.compile(
    r"^\W*(?:"
    r"(?:i['’]?m|i am|we are|we['’]re)\s+(?:very |really |so |truly )?(?:sorry|afraid)\b.{0,80}"
    r"(?:can['’]?t|cannot|can not|unable|won['’]?t|not able)"
    r"|sorry,?\s*(?:but )?(?:i|we)\b.{0,40}(?:can['’]?t|cannot|unable|won['’]?t|not able)"
    r"|(?:i|we)\s*(?:can['’]?t|cannot|can not|won['’]?t|will not|must decline|['’]?m unable|am unable|['’]?m not able"
    r"|am not able)\b.{0,60}(?:help|assist|identif|provide|comply|fulfil|describ|determin|analy[sz]|comment|answer"
    r"|speculate|infer|discuss|request|do that|engage)"
    r"|as an ai\b.{0,120}(?:can['’]?t|cannot|unable|not able|do not|don['’]?t)"
    r"|(?:unfortunately|regrettably),?\s*(?:i|we)\b.{0,40}(?:can['’]?t|cannot|unable|not able)"
    r"|(?:it|this|that) (?:would be|is) (?:inappropriate|not appropriate|against)\b"
    r")",
    re.IGNORECASE | re.DOTALL,
)

_GIVEN = r"(?:given|provided|supplied|stated|specified|mentioned|indicated|noted)"
_LABEL = (
    r"(?:labels?|annotations?|ground[- ]truth|metadata|captions?|descriptions?|information|details|prompt"
    r"|instructions?)"
)
_LEAK = re.compile(
    r"\b(?:"
    rf"as (?:you (?:have )?|was |were |already |is |are |i was |i have been )*(?:told|{_GIVEN}|labell?ed|informed)\b"
    rf"(?! (?:earlier|above|before) in this (?:answer|description))"
    rf"|you (?:have |had )?(?:told|informed|said|{_GIVEN})\b"
    rf"|(?:the|your|this|its) (?:{_GIVEN} |true |known |correct |image(?:'s)? |accompanying |associated )*"
    r"(?:labels?|annotations?|ground[- ]truth|metadata)\b"
    r"|ground[- ]truth"
    rf"|(?:the|your|this) {_GIVEN} {_LABEL}"
    rf"|(?:based on|according to|per|consistent with|in line with|matches|given) (?:the|your|this) "
    rf"(?:{_GIVEN} )?{_LABEL}\b"
    rf"|{_GIVEN} (?:to me|in the (?:prompt|question|instructions?|request))"
    r"|i (?:was|am|have been) (?:told|informed|given)\b"
    r"|(?:is|was|been|are) labell?ed (?:as|with)\b"
    r")",
    re.IGNORECASE,
)
_LEAK_STEMS = (
    "told", "given", "provided", "supplied", "stated", "specified", "mentioned", "indicated", "noted", "label",
    "ground", "inform", "said", "annotation", "metadata", "caption", "description", "detail", "prompt", "instruction",
)  # fmt: skip
"""Whatever the pattern of leaks matches has one of these, which is found out twenty times faster."""
_SENTENCE_END = tuple(".!?…)]}\"'”’»*`:;。！？")


def review_answer(reply: Reply, minimum_words: int = 1) -> Review:
    """Judge an answer by itself.

    Args:
        reply: What the annotator said.
        minimum_words: Shorter answers are not used.

    Returns:
        The answer, and why it cannot be used, if it cannot.
    """
    text = reply.text.strip()
    return Review(reply.refusal.strip() if reply.refusal and not text else text, _problem(reply, text, minimum_words))


def _problem(reply: Reply, text: str, minimum_words: int) -> str | None:
    if reply.refusal:
        return f"{REFUSED}: {_shorten(reply.refusal)}"
    if reply.finish_reason == "content_filter":
        return f"{REFUSED}: the endpoint's content filter"
    if not re.search(r"\w", text):
        return f"{EMPTY}: no words"
    if is_refusal(text):
        return f"{REFUSED}: {_shorten(text)}"
    if reply.finish_reason == "length":
        return f"{CUT_OFF}: it reached the longest answer allowed"
    words = len(text.split())
    if words < minimum_words:
        return f"{SHORT}: {words} of at least {minimum_words} words"
    if words >= LONG_ANSWER and not text.endswith(_SENTENCE_END):
        return f"{CUT_OFF}: it ends in the middle of a sentence"
    leak = find_leak(text)
    return None if leak is None else f"{LEAKS}: {leak!r}"


def is_refusal(text: str) -> bool:
    """Whether an answer begins by declining to answer."""
    return bool(_REFUSAL.match(text))


def find_leak(text: str) -> str | None:
    """The words by which an answer shows that a label was given, or None."""
    lowered = text.lower()
    match = _LEAK.search(text) if any(stem in lowered for stem in _LEAK_STEMS) else None
    return None if match is None else match[0]


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:117]}..."
