"""Language identification of a text: by its script, its most frequent words, and py3langid where that is installed."""

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
"""The languages that are distinguished: the ten most spoken, and a few more."""

FEWEST_WORDS = 6
"""Words below which a text is too short to judge, but for its script."""
CERTAIN = 0.95
COMMON_SHARE = 0.12
"""Share of a language's commonest words from which it is certain, if it is three times that of any other."""
SAMPLE = 240
"""Characters of a text that are looked at."""

_SCRIPTS = {
    "en": "LATIN", "es": "LATIN", "fr": "LATIN", "pt": "LATIN", "id": "LATIN", "de": "LATIN", "it": "LATIN",
    "zh": "CJK", "ja": "HIRAGANA", "ko": "HANGUL", "hi": "DEVANAGARI", "bn": "BENGALI", "ar": "ARABIC", "ur": "ARABIC",
    "ru": "CYRILLIC",
}  # fmt: skip
_COMMON: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "en": "the and is of with are that this has have her his their which while from",
        "es": "el los las y con una del su está están que por son tiene hay",
        "fr": "le les des et est une avec du qui sont dans sur elle ses au",
        "pt": "o os uma com do da dos são é não um está estão tem ao",
        "id": "dan yang dengan tidak ini adalah pada di terlihat dari nya itu sebuah wajah",
        "de": "der die das und ist ein eine mit sind nicht den dem auf",
        "it": "il gli della è sono di che una con del nel le sul",
        "ar": "في من على مع هذا هذه إلى التي الذي",
        "ur": "ہے اور کے کی میں کا سے ہیں پر کو",
    }.items()
}
"""The commonest words of languages that share a script."""
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
        certain.
    """
    found = language_of(text)
    if found is None:
        script = _script(text[:SAMPLE])
        is_other = script is not None and _SCRIPTS.get(asked, script) != script
        found = (
            next((name for name in LANGUAGES if _SCRIPTS[name] == script), str(script).lower()) if is_other else None
        )
    return None if found == asked else found


def language_of(text: str) -> str | None:
    """The language of a text, of ``LANGUAGES``; None where that is not certain.

    Scripts are certain, languages of one script are by their commonest words; py3langid is asked about the rest where
    it is installed.
    """
    text = text[:SAMPLE]
    script = _script(text)
    named = [name for name in LANGUAGES if _SCRIPTS[name] == script]
    if len(named) == 1:
        return named[0]
    if not named or count_words(text) < FEWEST_WORDS:
        return None
    words = re.findall(r"\w+", text.lower())
    shares = sorted(((sum(word in _COMMON[name] for word in words) / len(words), name) for name in named), reverse=True)
    if shares[0][0] >= COMMON_SHARE and shares[0][0] >= 3 * shares[1][0]:
        return shares[0][1]
    identifier = _identifier()
    if identifier is None:
        return None
    language, certainty = identifier.rank(text)[0]
    return str(language) if certainty >= CERTAIN else None


def _script(text: str) -> str | None:
    """The script of most letters; Japanese is recognised by its kana."""
    counts: Counter[str] = Counter()
    for letter, number in Counter(text).items():
        if letter.isalpha():
            counts[_script_of(letter)] += number
    if not counts:
        return None
    if counts["HIRAGANA"] * 10 >= counts["CJK"] and counts["HIRAGANA"]:
        return "HIRAGANA" if counts["HIRAGANA"] + counts["CJK"] > counts.total() / 2 else counts.most_common(1)[0][0]
    return counts.most_common(1)[0][0]


@lru_cache(maxsize=4096)
def _script_of(letter: str) -> str:
    name = unicodedata.name(letter, "").split(" ")[0]
    return "HIRAGANA" if name == "KATAKANA" else name


@lru_cache(maxsize=1)
def _identifier() -> Any:
    if importlib.util.find_spec("py3langid") is None:
        logger.warning(
            "some answers are in an uncertain language; pip install 'facekit-mllm[datagen]' identifies languages better"
        )
        return None
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier
