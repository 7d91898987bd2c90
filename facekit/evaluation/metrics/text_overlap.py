"""Overlap of a short answer with its reference: BLEU of a sentence and ROUGE, as nltk and rouge-score compute them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_SMALL = 0.1
_NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_ARTICLES = ("a", "an", "the")
_MARKS = ';/[]"{}()=+\\_-><@`,?!'


def sentence_bleu(answer: Sequence[str], reference: Sequence[str], weights: Sequence[float]) -> float:
    """BLEU of one answer (Papineni et al. 2002), with 0.1 hits for n-grams of a size that has none.

    The smoothing is method 1 of Chen and Cherry (2014).

    Args:
        answer: Its words.
        reference: Those of the reference.
        weights: Of the precisions of 1-grams, 2-grams and so on.
    """
    logarithms = []
    for size, weight in enumerate(weights, 1):
        said, known = _grams(answer, size), _grams(reference, size)
        hits = sum((said & known).values())
        if size == 1 and not hits:
            return 0.0
        logarithms.append(weight * math.log((hits or _SMALL) / max(1, sum(said.values()))))
    brevity = 1.0 if len(answer) > len(reference) else math.exp(1 - len(reference) / len(answer))
    return brevity * math.exp(math.fsum(logarithms))


def rouge_scores(answer: str, reference: str) -> dict[str, float]:
    """F-measures ``rouge1``, ``rouge2`` and ``rougeL`` (Lin 2004), without stemming."""
    said, known = (re.sub(r"[^a-z0-9]+", " ", text.lower()).split() for text in (answer, reference))
    found = {}
    for size in (1, 2):
        grams = _grams(said, size), _grams(known, size)
        found[f"rouge{size}"] = _f_measure(sum((grams[0] & grams[1]).values()), *(sum(each.values()) for each in grams))
    found["rougeL"] = _f_measure(_longest_common(said, known), len(said), len(known))
    return found


def normalize_words(text: str) -> str:
    """An answer as VQA's evaluation compares it: lower case, number words as digits, without articles and marks."""
    kept = text
    has_digits = re.search(r"\d,\d", text) is not None
    for mark in _MARKS:
        is_loose = f"{mark} " in text or f" {mark}" in text or has_digits
        kept = kept.replace(mark, "" if is_loose else " ")
    words = re.sub(r"\.(?!\d)", "", kept, count=32).lower().split()
    return " ".join(_NUMBERS.get(word, word) for word in words if word not in _ARTICLES).replace(",", "")


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def _f_measure(hits: int, said: int, known: int) -> float:
    return 2 * hits / (said + known) if hits else 0.0


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, 1):
            above = row[place]
            row[place] = diagonal + 1 if word == other else max(above, row[place - 1])
            diagonal = above
    return row[-1]
