"""Emotion in free words: the two metrics of MER-UniBench (Lian et al., ICML 2025, arXiv 2501.16566).

Words are grouped before they are compared: a form goes to its word, the word to its synonyms on emotion wheels, and
those to the group of a wheel. A word that is on no wheel is left out. Scores are means over the wheels. The groups
themselves are published beside the authors' code (github.com/zeroQiaoba/AffectGPT, ``emotion_wheel``) and are read from
a JSON file, see ``EmotionWheels.read``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Self

from facekit.errors import ConfigurationError, RecordError

Wheel = Mapping[str, Mapping[str, Sequence[str]]]
"""Words of the inner ring to those of the middle ring to those of the outer ring."""


@dataclass(frozen=True, eq=False)
class EmotionWheels:
    """How words of emotion are grouped.

    Args:
        forms: Each form of a word to the words that it may be a form of ("angered" to "angry"); each word to itself.
        synonyms: Each such word to the words of the wheels that it is a synonym of.
        wheels: The wheels.
    """

    forms: Mapping[str, Sequence[str]]
    synonyms: Mapping[str, Sequence[str]]
    wheels: tuple[Wheel, ...]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a JSON object with ``forms``, ``synonyms`` and ``wheels``; ``RecordError`` where it is not that."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            made = cls(values["forms"], values["synonyms"], tuple(values["wheels"]))
            if not made.wheels or not all(isinstance(ring, dict) for wheel in made.wheels for ring in wheel.values()):
                raise ValueError("no wheels of three rings")
            return made
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"{path} cannot be read as emotion wheels ({error})") from error

    def groups(self, words: Sequence[str], wheel: int, ring: int = 1) -> set[str]:
        """Groups of words on a wheel; those that are on none are left out.

        Args:
            words: The words.
            wheel: Index of the wheel.
            ring: 1, groups are words of the inner ring; 2, of the middle ring.
        """
        places = _ring_of(self.wheels[wheel], ring)
        found = (self._group(word.lower().strip(), places) for word in words)
        return {group for group in found if group is not None}

    def _group(self, word: str, places: Mapping[str, str]) -> str | None:
        """Of several words of the wheels the first in alphabetical order that is on this one."""
        candidates = sorted(each for form in self.forms.get(word, ()) for each in self.synonyms.get(form, ()))
        return next((places[each] for each in candidates if each in places), None)


@dataclass(frozen=True)
class WheelScores:
    """Free words against free words, means over wheels.

    Args:
        f_score: Harmonic mean of the two below, on each wheel.
        precision: Share of the groups said that are true, mean over faces.
        recall: Share of the true groups that are said.
        count: Faces with a true word on a wheel, of the wheel with fewest.
    """

    f_score: float
    precision: float
    recall: float
    count: int


def wheel_scores(
    wheels: EmotionWheels, truths: Sequence[Sequence[str]], answers: Sequence[Sequence[str]], ring: int = 1
) -> WheelScores:
    """Precision, recall and F of free words (the set-level metric for fine-grained emotion).

    Args:
        wheels: How words are grouped.
        truths: True words of each face; faces without one on a wheel are left out of its means.
        answers: Words said of each.
        ring: 1 or 2, see ``EmotionWheels.groups``.
    """
    rows, counts = [], []
    for wheel in range(len(wheels.wheels)):
        pairs = _pairs(wheels, truths, answers, wheel, ring)
        hits = [(len(true & said), len(said), len(true)) for true, said in pairs]
        precision = fmean(hit / said if said else 0.0 for hit, said, _ in hits) if hits else 0.0
        recall = fmean(hit / true for hit, _, true in hits) if hits else 0.0
        total = precision + recall
        rows.append((2 * precision * recall / total if total else 0.0, precision, recall))
        counts.append(len(hits))
    f_score, precision, recall = (fmean(column) for column in zip(*rows, strict=True))
    return WheelScores(f_score, precision, recall, min(counts))


def hit_rate(wheels: EmotionWheels, truths: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """Share of faces whose one true emotion is among the words said (the metric for basic emotions), mean over wheels.

    Args:
        wheels: How words are grouped.
        truths: The emotion of each face; one that is on no wheel, such as neutral, is left out.
        answers: Words said of each.
    """
    rates = []
    for wheel in range(len(wheels.wheels)):
        pairs = _pairs(wheels, [[truth] for truth in truths], answers, wheel, 1)
        rates.append(fmean(len(true & said) for true, said in pairs) if pairs else 0.0)
    return fmean(rates)


def free_words(answer: str) -> list[str]:
    """Words of an answer that is a list, with commas, semicolons, lines or "and" between them; marks are dropped."""
    parts = re.split(r"[,;，、\n]|\band\b", re.sub(r"[\[\]\"'*.]", " ", answer))
    return [" ".join(part.split()).lower() for part in parts if part.strip()]


def _pairs(
    wheels: EmotionWheels, truths: Sequence[Sequence[str]], answers: Sequence[Sequence[str]], wheel: int, ring: int
) -> list[tuple[set[str], set[str]]]:
    both = (
        (wheels.groups(true, wheel, ring), wheels.groups(said, wheel, ring))
        for true, said in zip(truths, answers, strict=True)
    )
    return [(true, said) for true, said in both if true]


def _ring_of(wheel: Wheel, ring: int) -> dict[str, str]:
    """Each word of a wheel to its group; a word of the inner ring is in its first middle one where those are groups."""
    if ring not in (1, 2):
        raise ConfigurationError(f"the rings that words are grouped by are 1 and 2, not {ring}")
    places = {}
    for inner, middle_ring in wheel.items():
        places[inner] = inner if ring == 1 else min(middle_ring)
        for middle, outer_ring in middle_ring.items():
            group = inner if ring == 1 else middle
            places |= dict.fromkeys([middle, *outer_ring], group)
    return places
