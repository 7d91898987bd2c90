"""Phrases by which an answer reveals that its writer was given the label, which the student must never read."""

from __future__ import annotations

import re

_GIVEN = r"(?:given|provided|supplied|stated|specified|mentioned|indicated|noted|listed|reported|annotated|assigned)"
_LABEL = (
    r"(?:labels?|annotations?|ground[- ]truth|metadata|captions?|descriptions?|information|details|prompt|instructions?"
    r"|attributes?|tags?|demographics?|category|categories|class|data|context|hints?)"
)
_QUALITY = (
    r"(?:labels?|annotations?|answer|age|gender|race|ethnicity|expression|emotion|attributes?|units?|aus?|group|class)"
)
_ASKER = r"(?:prompt|question|instructions?|user|request|data ?set|task|label|annotation)"

_PATTERNS = (
    # as told, as mentioned in the prompt, as you specified
    rf"as (?:you (?:have )?|was |were |already |is |are |i was |i have been )*(?:told|{_GIVEN}|labell?ed|informed)\b"
    rf"(?! (?:earlier|above|before) in this (?:answer|description))",
    rf"you (?:have |had |['’]ve )?(?:told|informed|said|{_GIVEN})\b",
    rf"{_GIVEN} (?:to me|by you|by the user|in the (?:prompt|question|instructions?|request|metadata|annotations?))",
    r"(?:i|we) (?:was|were|am|are|have been|['’]ve been) "
    r"(?:told|informed|given|instructed|asked to (?:assume|state))\b",
    r"it (?:is|was) (?:given|stated|specified|known|mentioned) that\b",
    # the label, the given label, ground truth
    rf"(?:the|your|this|its) (?:{_GIVEN} |true |known |correct |image(?:'s)? |accompanying |associated )*"
    rf"(?:labels?|annotations?|ground[- ]truth|metadata)\b",
    r"ground[- ]truth",
    rf"(?:the|your|this) {_GIVEN} {_LABEL}",
    rf"(?:the|your|this|its|an?) {_GIVEN}(?: [\w-]+)? {_QUALITY}\b",
    rf"(?:the|your) (?:correct|true|actual|known|target|expected|reference|gold) {_QUALITY}\b",
    r"(?:is|was|been|are|being) (?:labell?ed|annotated|tagged)(?: (?:as|with|in)\b|[.,;])",
    # based on the information given, in line with the label, since the prompt says
    rf"(?:based on|according to|per|consistent with|in line with|matches|given) (?:the|your|this) "
    rf"(?:{_GIVEN} )?{_LABEL}\b",
    rf"(?:aligns?|aligned|consistent|agrees?|fits?|match(?:es|ing)?|in (?:line|accordance|agreement|keeping)) "
    rf"(?:with )?(?:the|your|its|this) (?:{_GIVEN}|known|label\w*|annotat\w*|correct|true)\b",
    rf"(?:since|because|as|knowing that|given that) (?:you|the {_ASKER})\b",
    rf"(?:the|your) {_ASKER} "
    rf"(?:says?|states?|specifies|mentions?|indicates?|tells?|describes?|notes?|identifies)\b",
)
_LEAK = re.compile(rf"\b(?:{'|'.join(_PATTERNS)})", re.IGNORECASE)
_STEMS = (
    "told", "given", "provided", "supplied", "stated", "specif", "mention", "indicat", "note", "label", "listed",
    "said", "ground", "inform", "annotat", "metadata", "caption", "description", "detail", "prompt", "instruct",
    "tagged", "reported", "assigned", "correct", "true", "actual", "known", "target", "expected", "reference", "gold",
    "you",
    "question", "user", "request", "dataset", "data set", "task", "asked to", "attribute", "demographic", "categor",
    "class", "data", "context", "hint", "tag",
)  # fmt: skip
"""Whatever a pattern matches has one of these, which is found out many times faster."""


def find_leak(text: str) -> str | None:
    """The words by which an answer shows that a label was given, or None."""
    lowered = text.lower()
    match = _LEAK.search(text) if any(stem in lowered for stem in _STEMS) else None
    return None if match is None else match[0]
