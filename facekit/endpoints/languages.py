"""In which language a text is: by its script, and by py3langid where that is installed."""

from __future__ import annotations

import importlib.util
import logging
import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Any, Literal, get_args

logger = logging.getLogger(__name__)

Language = Literal["en", "zh", "hi", "es", "ar", "fr", "bn", "pt", "ru", "id", "ur", "de", "ja", "ko", "it"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
"""The languages that are told apart: the ten most spoken, and a few more."""

FEWEST_WORDS = 6
"""Words below which a text is too short to judge, but for its script."""
CERTAIN = 0.95

_SCRIPTS = {
    "en": "LATIN", "es": "LATIN", "fr": "LATIN", "pt": "LATIN", "id": "LATIN", "de": "LATIN", "it": "LATIN",
    "zh": "CJK", "ja": "HIRAGANA", "ko": "HANGUL", "hi": "DEVANAGARI", "bn": "BENGALI", "ar": "ARABIC", "ur": "ARABIC",
    "ru": "CYRILLIC",
}  # fmt: skip
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LETTERS_PER_WORD = 2


def count_words(text: str) -> int:
    """Words of a text; in Chinese and Japanese, which have no spaces, two characters count as one."""
    rest, ideographs = _IDEOGRAPH.subn(" ", text)
    return len(re.findall(r"\S*\w\S*", rest)) + (ideographs + 1) // _LETTERS_PER_WORD


def other_language(text: str, asked: str) -> str | None:
    """The language of a text where it is certainly not the one that was asked for.

    Args:
        text: The text.
        asked: The language that was asked for, of ``LANGUAGES``.

    Returns:
        Another language, or the name of another script; None where the text is in the right one, too short, or not
        certain. Without py3langid only scripts are told apart.
    """
    script = _script(text)
    if script is not None and not _fits(script, asked):
        return language_of(text) or next((name for name in LANGUAGES if _SCRIPTS[name] == script), script.lower())
    if script is None or count_words(text) < FEWEST_WORDS:
        return None
    identifier = _identifier()
    if identifier is None:
        return None
    language, certainty = identifier.rank(text)[0]
    return str(language) if language != asked and certainty >= CERTAIN else None


def language_of(text: str) -> str | None:
    """The language of a text, of ``LANGUAGES``; None where that is not certain.

    Without py3langid one language stands for all of its script.
    """
    script = _script(text)
    named = [name for name, other in _SCRIPTS.items() if other == script]
    if len(named) == 1:
        return named[0]
    if not named or count_words(text) < FEWEST_WORDS:
        return None
    identifier = _identifier()
    if identifier is None:
        return named[0]
    language, certainty = identifier.rank(text)[0]
    return str(language) if certainty >= CERTAIN else None


def _script(text: str) -> str | None:
    """The script of most letters; Japanese is told by its kana."""
    counts: Counter[str] = Counter()
    for letter in text[:2000]:
        if letter.isalpha():
            name = unicodedata.name(letter, "").split(" ")[0]
            counts["HIRAGANA" if name == "KATAKANA" else name] += 1
    if not counts:
        return None
    if counts["HIRAGANA"] * 10 >= counts["CJK"] and counts["HIRAGANA"]:
        return "HIRAGANA" if counts["HIRAGANA"] + counts["CJK"] > counts.total() / 2 else counts.most_common(1)[0][0]
    return counts.most_common(1)[0][0]


def _fits(script: str, language: str) -> bool:
    return language not in _SCRIPTS or _SCRIPTS[language] == script


@lru_cache(maxsize=1)
def _identifier() -> Any:
    if importlib.util.find_spec("py3langid") is None:
        logger.warning(
            "answers in another language of the same script are not told; for that: pip install 'facekit-mllm[datagen]'"
        )
        return None
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier
