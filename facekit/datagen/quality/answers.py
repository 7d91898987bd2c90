"""Filters of single answers: refusals, empty and truncated answers, the wrong language, mentions of the given label."""

from __future__ import annotations

import re

from facekit.datagen.quality.leaks import find_leak
from facekit.endpoints.languages import count_words, other_language
from facekit.endpoints.refusals import is_refusal
from facekit.endpoints.replies import CONTENT_FILTER, LENGTH
from facekit.endpoints.requests import Reply, Review

REFUSED, EMPTY, SHORT, CUT_OFF, LEAKS = "refusal", "empty", "too short", "cut off", "speaks of the given label"
OTHER_LANGUAGE = "another language"
"""Reasons for which an answer is not used, as they stand before the colon of a recorded reason."""

LONG_ANSWER = 30
"""Words from which an answer that ends without punctuation counts as cut off."""

_SENTENCE_END = tuple(".!?…)]}\"'”’»*`:;。！？।॥۔؟」』）")


def review_answer(reply: Reply, minimum_words: int = 1, language: str | None = None) -> Review:
    """Judge an answer by itself.

    Args:
        reply: What the annotator said.
        minimum_words: Shorter answers are not used.
        language: In which the answer was asked for, of ``facekit.endpoints.languages.LANGUAGES``; None for any.

    Returns:
        The answer, and why it cannot be used, if it cannot.
    """
    text = reply.text.strip()
    kept = reply.refusal.strip() if reply.refusal and not text else text
    return Review(kept, _problem(reply, text, minimum_words, language))


def _problem(reply: Reply, text: str, minimum_words: int, language: str | None) -> str | None:
    if reply.refusal:
        return f"{REFUSED}: {_shorten(reply.refusal)}"
    if reply.finish_reason == CONTENT_FILTER:
        return f"{REFUSED}: the endpoint's content filter"
    if is_refusal(text):
        return f"{REFUSED}: {_shorten(text)}"
    if reply.finish_reason == LENGTH:
        return f"{CUT_OFF}: it reached the longest answer allowed"
    if not re.search(r"\w", text):
        return f"{EMPTY}: no words"
    words = count_words(text)
    if words < minimum_words:
        return f"{SHORT}: {words} of at least {minimum_words} words"
    if words >= LONG_ANSWER and not text.endswith(_SENTENCE_END):
        return f"{CUT_OFF}: it ends in the middle of a sentence"
    other = None if language is None else other_language(text, language)
    if other is not None:
        return f"{OTHER_LANGUAGE}: {other}, not {language}"
    leak = find_leak(text)
    return None if leak is None else f"{LEAKS}: {leak!r}"


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:117]}..."
