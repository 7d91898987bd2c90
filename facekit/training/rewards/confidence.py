"""``find_confidence``: how sure an answer says that it is."""

from __future__ import annotations

import re

_PERCENT = re.compile(
    r"(?<![\d.,])(\d{1,3}(?:[.,]\d+)?)\s?(?:[%％]|percent\b|prozent\b|por ciento\b|pour cent\b|por cento\b)"
)
_NOUN = (
    r"(?:confiden(?:ce|t)|certainty|probability|likelihood|chance|sure|konfidenz|sicherheit|wahrscheinlichkeit"
    r"|confianza|certeza|probabilidad|confiance|certitude|probabilité|confiança|probabilidade|置信度|概率|確率|信頼度)"
)
_SHARE = re.compile(rf"{_NOUN}[^\d.\n]{{0,40}}?(?<![\d.,])([01](?:[.,]\d+)?|[.,]\d+)(?![\d%％.,]|\s?%)")
_LIKELY = r"(?:probability|likelihood|chance|score|wahrscheinlichkeit|probabilidad|probabilité|probabilidade|概率|確率)"
_FAKE = r"(?:manipul|fak|forg|alter|edit|deepfake|synth|gefälscht|falsch|伪造|偽造|加工)"
_OF_FAKE = re.compile(rf"{_LIKELY}[^.\n\d]{{0,40}}?{_FAKE}|{_FAKE}\w{{0,8}}[\s_-]?{_LIKELY}")
_EQUAL = 0.005


def find_confidence(words: str, *, verdict: bool = True) -> float | None:
    """Read the confidence in an answer's verdict, from "90% sure" or "Confidence: 0.9".

    Args:
        words: The answer, without thoughts.
        verdict: What it says; for a verdict of False a "probability of manipulation" is that of the other verdict.

    Returns:
        From 0 to 1; 1.0 where none is stated. None where several are that do not belong together, or one is above 100%.
    """
    text = words.lower()
    stated = [float(match[1].replace(",", ".")) / 100 for match in _PERCENT.finditer(text)]
    stated += [float(f"0{number}".replace(",", ".")) for number in _SHARE.findall(text)]
    if not stated:
        return 1.0
    if max(stated) > 1.0:
        return None
    if len(stated) == 2 and abs(sum(stated) - 1.0) < _EQUAL:
        return max(stated)
    if max(stated) - min(stated) > _EQUAL:
        return None
    return 1.0 - stated[0] if not verdict and _OF_FAKE.search(text) else stated[0]
