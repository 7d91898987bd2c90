"""Bounding and normalising an answer's text."""

from __future__ import annotations

import re
import unicodedata

LONGEST_HEAD, LONGEST_TAIL = 4_000, 12_000
"""Characters at the beginning and at the end of an answer that are read; what lies between is left out."""

_CASELESS_MARKS = str.maketrans({
    "’": "'", "‘": "'", "´": "'", "–": "-", "‐": "-", "‑": "-", "−": "-", "—": " - ", "―": " - ",
    "“": None, "”": None, "„": None, "«": None, "»": None, '"': None, "`": None, "*": None, "「": None, "」": None,
    "『": None, "』": None, "【": None, "】": None, "_": " ", "\u200b": None, "\ufeff": None, "\xa0": " ",
})  # fmt: skip
_TICKS, _CROSSES = "✓✔✅☑🗹", "✗✘❌✕✖☒❎☐🚫"
_TICK = re.compile(
    rf"(?P<behind>(?:(?<=[\w)\]])|(?<=[\w)\]]\*\*)) ?)?(?P<sign>[{_TICKS}{_CROSSES}])(?P<more>[ \t]*(?=[\w(]))?"
)
_SIGNS = (("➕", " + "), ("≈", " ~ "), ("≤", "<="), ("≥", ">="), ("→", " : "), ("⇒", " : "), ("->", " : "),
          ("=>", " : "))  # fmt: skip
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf|boldsymbol|emph|textit|mathit)\s*\{([^{}]{0,200})\}")
_LATEX_MARKS = re.compile(r"\\[()\[\]]|\$+|\\(?=[%$_#&{},;! ])|\\(?:quad|qquad|displaystyle)\b")
_TAGS = re.compile(r"</?(?:b|i|em|strong|u|p|br|span|div|li|ul|ol|h[1-6]|code|td|tr|th|table|mark)\s*/?>")
_APART = re.compile(r"(?<=[a-z])(?=[A-Z])")


def bounded(text: str) -> str:
    """A text without its middle where it is longer than ``LONGEST_HEAD`` and ``LONGEST_TAIL`` together."""
    if len(text) <= LONGEST_HEAD + LONGEST_TAIL:
        return text
    return f"{text[:LONGEST_HEAD]}\n\n{text[-LONGEST_TAIL:]}"


def unified(text: str) -> str:
    """Compatible characters in their plain form, and LaTeX and HTML taken out of the words; case is kept."""
    text = unicodedata.normalize("NFKC", text).replace("\ufe0f", "")
    if _TICK.search(text):
        text = _TICK.sub(_tick_ahead if text.lstrip(" -*•")[:1] in _TICKS + _CROSSES else _tick, text)
    for sign, words in _SIGNS:
        if sign in text:
            text = text.replace(sign, words)
    if "\\" in text or "$" in text:
        text = _LATEX_MARKS.sub(" ", _LATEX.sub(r"\1", text))
    return _TAGS.sub(" ", text) if "<" in text else text


def _tick_ahead(match: re.Match[str]) -> str:
    """A tick or a cross of a line that begins with one: a word before what follows it."""
    return f"{'; ' if match.start() else ''}{'yes' if match['sign'] in _TICKS else 'no'} "


def _tick(match: re.Match[str]) -> str:
    """A tick or a cross in words: the value of what stands before it on its line, or else a word before the next."""
    word = "yes" if match["sign"] in _TICKS else "no"
    if match["behind"] is None:
        return f" {word} "
    return f": {word}; " if match["more"] is not None else f": {word} "


def normalise_words(text: str) -> str:
    """Lower case without quotes, emphasis and runs of spaces; dashes and apostrophes are of one kind."""
    return re.sub(r"[ \t]+", " ", text.lower().translate(_CASELESS_MARKS)).strip()


def normalise_key(text: str) -> str:
    """The name of a field as words: ``isFake`` and ``is_fake`` are "is fake"."""
    return normalise_words(_APART.sub(" ", unified(text)).replace("-", " "))
