"""Emotion in free words: the two metrics of MER-UniBench (Lian et al., ICML 2025, arXiv 2501.16566).

Words are grouped before they are compared: a form goes to its word, the word to its synonyms on emotion wheels, and
those to the group of a wheel. A word that is on no wheel is left out. Scores are means over the wheels. The groups
themselves are published beside the authors' code (github.com/zeroQiaoba/AffectGPT, ``emotion_wheel``) and are read from
the user's copy, see ``EmotionWheels.read_folder``, or from a JSON file, see ``EmotionWheels.read``.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Self

from facekit.answers.languages.telling import vocabularies_for
from facekit.answers.text.claims import Clauses
from facekit.answers.text.normalising import bounded, normalise_words
from facekit.answers.text.statements import split_sentences
from facekit.data.workbooks import read_sheet
from facekit.errors import ConfigurationError, RecordError

WHEELS = 5
"""Wheels of the authors."""
_LONGEST_ENTRY = 3
_WORD = re.compile(r"\w[\w'-]*")
_FORMS, _SYNONYMS = "format.csv", "synonym.xlsx"
_LEVELS = ("level1", "level2", "level3")

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
    _places: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict, init=False, repr=False)
    _candidates: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a JSON object with ``forms``, ``synonyms`` and ``wheels``; ``RecordError`` where it is not that."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            made = cls(values["forms"], values["synonyms"], tuple(values["wheels"]))
            if not all(map(_has_lists_of_words, (made.forms, made.synonyms))):
                raise ValueError("'forms' and 'synonyms' have a list of words for each word")
            if not made.wheels:
                raise ValueError("no wheels")
            middle_rings = [ring for wheel in made.wheels for ring in wheel.values()]
            if not all(made.wheels) or not all(middle_rings) or not all(map(_has_lists_of_words, middle_rings)):
                raise ValueError("no wheels of three rings")
            return made
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"{path} cannot be read as emotion wheels ({error})") from error

    @classmethod
    def read_folder(cls, folder: str | Path) -> Self:
        """Read the folder ``emotion_wheel`` as it is published: ``format.csv``, ``synonym.xlsx``, ``wheel1.xlsx`` to 5.

        Raises:
            RecordError: A file is missing or malformed.
        """
        folder = Path(folder)
        paths = [folder / f"wheel{number}.xlsx" for number in range(1, WHEELS + 1)]
        missing = [path.name for path in (folder / _FORMS, folder / _SYNONYMS, *paths) if not path.is_file()]
        if missing:
            source = "the folder 'emotion_wheel' of github.com/zeroQiaoba/AffectGPT"
            raise RecordError(f"{folder} lacks {', '.join(missing)}; give {source}")
        synonyms = _read_synonyms(folder / _SYNONYMS)
        forms = _read_forms(folder / _FORMS)
        lost = next((word for words in forms.values() for word in words if word not in synonyms), None)
        if lost is not None:
            raise RecordError(f"{folder / _FORMS} has '{lost}', which {_SYNONYMS} does not have; fetch both again")
        return cls(forms, synonyms, tuple(_read_wheel(path) for path in paths))

    def groups(self, words: Sequence[str], wheel: int, ring: int = 1) -> set[str]:
        """Groups of words on a wheel; those that are on none are left out.

        Args:
            words: The words.
            wheel: Index of the wheel.
            ring: 1, groups are words of the inner ring; 2, of the middle ring.
        """
        if (wheel, ring) not in self._places:
            self._places[wheel, ring] = _ring_of(self.wheels[wheel], ring)
        places = self._places[wheel, ring]
        found = (self._group(word.lower().strip(), places) for word in words)
        return {group for group in found if group is not None}

    def _group(self, word: str, places: Mapping[str, str]) -> str | None:
        """Of several words of the wheels the first in alphabetical order that is on this one."""
        if word not in self._candidates:
            forms = self.forms.get(word, ())
            self._candidates[word] = sorted({each for form in forms for each in self.synonyms.get(form, ())})
        return next((places[each] for each in self._candidates[word] if each in places), None)


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


def read_word_list(text: str) -> list[str]:
    """Words of a list as the benchmark's own files and its extracting model write it.

    One bracket is dropped at either end; quotation marks and commas stand between words; other marks are part of one.
    """
    text = text.removeprefix("[").removesuffix("]")
    return [word.strip() for word in re.split("['\",]", text) if word.strip()]


def named_words(wheels: EmotionWheels, answer: str) -> list[str]:
    """Words of emotion in an answer of any form: of a list its entries, of sentences the forms that the wheels know.

    A word that its clause denies is left out.
    """
    answer = bounded(answer)
    entries = free_words(answer)
    if entries and all(len(entry.split()) <= _LONGEST_ENTRY for entry in entries):
        return entries
    found = []
    vocabulary = vocabularies_for(normalise_words(answer))[0]
    for sentence in split_sentences(answer):
        clauses = Clauses(normalise_words(sentence), vocabulary)
        words = [*_WORD.finditer(clauses.text)]
        for word, after in zip(words, [*words[1:], None], strict=True):
            ends = [word.end()] if after is None else [after.end(), word.end()]
            known = next((end for end in ends if clauses.text[word.start() : end] in wheels.forms), None)
            if known is not None and not clauses.is_denied(word.start(), known):
                found.append(clauses.text[word.start() : known])
    return list(dict.fromkeys(found))


def _has_lists_of_words(words: object) -> bool:
    return isinstance(words, dict) and all(
        isinstance(others, list) and all(isinstance(other, str) for other in others) for others in words.values()
    )


def _read_forms(path: Path) -> dict[str, list[str]]:
    """Each form to its words, in the order of the file; a word is its own last one."""
    forms: dict[str, list[str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines):
                for form in read_word_list(row["format"]):
                    forms.setdefault(form, []).append(row["name"])
                forms.setdefault(row["name"], []).append(row["name"])
    except (OSError, UnicodeDecodeError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise RecordError(f"{path} needs the columns 'name' and 'format' ({error!r})") from error
    return forms


def _read_synonyms(path: Path) -> dict[str, list[str]]:
    """Each synonym to the words of the wheels; a column ``word_runN`` and one ``synonym_runN`` for each run."""
    synonyms: dict[str, list[str]] = {}
    for row in read_sheet(path):
        for column, word in row.items():
            if column.startswith("word_"):
                word = word.strip().lower()
                run = read_word_list(row.get(column.replace("word_", "synonym_"), ""))
                for each in (word, *(synonym.lower() for synonym in run)):
                    synonyms.setdefault(each, []).append(word)
    return synonyms


def _read_wheel(path: Path) -> dict[str, dict[str, list[str]]]:
    """Rows of three rings, in which a cell that is empty says what the one above it says."""
    wheel: dict[str, dict[str, list[str]]] = {}
    rings = dict.fromkeys(_LEVELS, "")
    for row in read_sheet(path):
        rings |= {level: row[level].lower().strip() for level in _LEVELS if row.get(level)}
        inner, middle, outer = (rings[level] for level in _LEVELS)
        wheel.setdefault(inner, {}).setdefault(middle, []).append(outer)
    if not wheel or "" in wheel:
        raise RecordError(f"{path} needs the columns {', '.join(_LEVELS)}, filled from the first row on")
    return wheel


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
