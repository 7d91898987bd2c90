"""The languages that an answer may be in, the likeliest first."""

from __future__ import annotations

import re

from facekit.answers.languages.vocabulary import LANGUAGES, Vocabulary, common_words, load_vocabulary, yes_and_no

SAMPLE = 1_600
"""Characters of an answer that are looked at."""
_KANA = re.compile(r"[\u3041-\u30fa]")
_IDEOGRAPH = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_WORD = re.compile(r"[a-zà-ɏ]+")
_CODE = re.compile(r"(?<![a-z])aus?\s?\d")
"""Codes of action units, which are no French word."""
_LETTERS = {
    "ñ¿¡": "es", "ßäöü": "de", "ãõ": "pt", "œèêùûîë": "fr",
}  # fmt: skip
_CHINESE_ALONE = re.compile(r"[这這是的们們没沒吗嗎呢吧您岁歲么麼哪谁誰给給还還让讓很]")
_JAPANESE_ALONE = re.compile(r"[歳才代率顔髪眼鏡悲驚怖怒嫌恐]")


def vocabularies_for(words: str) -> list[Vocabulary]:
    """The vocabularies to read an answer with, in turn; a later one only where the earlier ones find nothing.

    Args:
        words: The answer, normalised.
    """
    sample = words[:SAMPLE]
    if _KANA.search(sample):
        return [load_vocabulary("ja")]
    if _IDEOGRAPH.search(sample):
        if _CHINESE_ALONE.search(sample):
            return [load_vocabulary("zh")]
        short_first = ("ja", "zh") if len(sample) < 12 and _JAPANESE_ALONE.search(sample) else ("zh", "ja")
        return [load_vocabulary(name) for name in short_first]
    scores = dict.fromkeys((name for name in LANGUAGES if name in common_words()), 0)
    for word in _WORD.findall(_CODE.sub(" ", sample)):
        for name, common in common_words().items():
            scores[name] += word in common
    for letters, name in _LETTERS.items():
        scores[name] += 2 * any(letter in sample for letter in letters)
    if not any(scores.values()):
        scores = {name: sum(len(word) for word in yes_and_no(name).findall(sample)) for name in scores}
    best = max(scores.values())
    if best == 0:
        return [load_vocabulary(name) for name in scores]
    if scores["en"] == best and best > 2 * max(score for name, score in scores.items() if name != "en"):
        return [load_vocabulary("en")]
    ranked = sorted((name for name in scores if scores[name]), key=lambda name: -scores[name])
    return [load_vocabulary(name) for name in ranked if 2 * scores[name] >= best]
