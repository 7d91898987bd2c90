"""Scores of single answers: pure functions of the words and the truth, each from 0 to 1.

An answer that ``find_hack`` refuses, and one that commits itself to nothing, scores 0. An answer that commits itself to
several things at once never scores more than choosing one of them at random would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facekit.answers.languages.numbers import digits_for_words
from facekit.answers.languages.telling import vocabularies_for
from facekit.answers.readers.ages import OLDEST, read_age
from facekit.answers.readers.attributes import attribute_asked_for, read_attributes, yes_or_no_question
from facekit.answers.readers.expressions import read_expression
from facekit.answers.readers.manipulation import meaning_of_yes, read_manipulation
from facekit.answers.readers.units import read_action_units
from facekit.answers.readers.yes_or_no import read_presence, read_yes_or_no
from facekit.answers.reading import LONGEST_SPAN, Reading, Rule
from facekit.answers.text.claims import Clauses
from facekit.answers.text.normalising import normalise_words, unified
from facekit.answers.text.statements import split_sentences
from facekit.counted import counted
from facekit.data.labels import ACTIVE_INTENSITY, EXPRESSIONS, FaceLabels
from facekit.endpoints.texts import strip_thoughts
from facekit.training.rewards.confidence import find_confidence
from facekit.training.rewards.guards import find_hack

AGE_SCALE = 10.0
"""Years of error at which an age scores nothing."""
SAME_PERSON = "Do these pictures show the same person?"
_LEAST_REASON = 8
_MARKED = frozenset({Rule.BOXED, Rule.TAGGED, Rule.FINAL, Rule.FIELD, Rule.CONCLUSION})
_RUN = re.compile(
    r"(?<![\d.])\d{1,3}(?:\s*(?:[-–—~/]|,\s|to|and|or|bis|und|oder|a|y|o|à|et|ou|e|至|到|から|或)\s*\d{1,3}(?!\d|\.\d))+"
)
_SAME_PERSON = re.compile(
    r"(?P<not>\b(?:not|isn't|aren't|never|hardly)\b[^.;,\n]{0,20})?\b(?:(?P<same>same|identical|single)"
    r"|different|distinct|separate|unrelated) (?:persons?|people|individuals?|identit(?:y|ies)|(?:wo)?m[ae]n)"
)
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff々"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W\d_{_UNSPACED}]{{2,}}")
_FORM = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)


@dataclass(frozen=True)
class Score:
    """What an answer is worth.

    Args:
        value: From 0 to 1.
        reason: Why it is no more, in a few words; ``right`` where it is 1.
    """

    value: float
    reason: str


def score_expression(text: str, truth: str, classes: Sequence[str] = EXPRESSIONS) -> Score:
    """Score an expression: 1/n where it is right, n being the expressions that the answer names and does not deny.

    Of an answer with a mark ("Answer: fear", a box, a tag, a conclusion) the mark and what follows it are counted, so
    that reasons before it may compare. Naming all seven never scores more than 1/7, as guessing does.

    Args:
        text: The answer.
        truth: The expression.
        classes: Those to choose from.

    Examples:
        >>> from facekit.training.rewards import score_expression
        >>> score_expression("The face shows happiness.", "happiness").value
        1.0
    """
    hack = find_hack(text)
    if hack is not None:
        return Score(0.0, hack)
    reading = read_expression(text, classes)
    words = _committed_words(text, reading)
    if reading.value is None or words is None:
        return Score(0.0, reading.rule.value)
    named = {reading.value, *_named_expressions(words, classes)}
    if reading.value != truth:
        return Score(0.0, f"wrong: {reading.value}")
    return Score(1.0 / len(named), "right" if len(named) == 1 else f"right among {len(named)}")


def score_age(text: str, truth: float, scale: float = AGE_SCALE) -> Score:
    """Score an age: ``max(0, 1 - d / scale)``, d being the distance in years of the farthest age that the answer names.

    So a range costs what its farther end is away, and a list of ages what the worst of them is.

    Args:
        text: The answer.
        truth: Years.
        scale: Years at which nothing is left.

    Examples:
        >>> from facekit.training.rewards import score_age
        >>> near, far = score_age("About 34 years old.", 34), score_age("About 60 years old.", 34)
        >>> near.value > far.value
        True
    """
    hack = find_hack(text)
    if hack is not None:
        return Score(0.0, hack)
    reading = read_age(text)
    words = _committed_words(text, reading)
    if reading.value is None or words is None:
        return Score(0.0, reading.rule.value)
    distance = max(abs(age - truth) for age in (reading.value, *_named_ages(words)))
    return Score(max(0.0, 1.0 - distance / scale), "right" if distance == 0 else f"{counted(distance, 'year')} away")


def score_units(text: str, truth: Mapping[str, float]) -> Score:
    """Score action units by their F1 beyond naming them all: ``max(0, (F1 - F1_all) / (1 - F1_all))``.

    F1 is that of the named units against the active ones (intensity of at least 1), over the annotated units alone;
    ``F1_all`` is that of an answer that names every annotated unit, which so scores 0. Where no unit is active, only an
    answer that says so scores.

    Args:
        text: The answer.
        truth: Code to intensity of every annotated unit.
    """
    hack = find_hack(text)
    if hack is not None:
        return Score(0.0, hack)
    active = {code for code, intensity in truth.items() if intensity >= ACTIVE_INTENSITY}
    return _score_set(read_action_units(text), active, set(truth))


def score_attributes(text: str, truth: Mapping[str, bool], asked: Sequence[str] = ()) -> Score:
    """Score attributes: those that a face has as ``score_units`` does, or those that a question asks for one by one.

    Of the latter each is to be affirmed or denied: ``max(0, r_yes + r_no - 1)``, the shares of the present and of the
    absent ones that are right (Youden's J), so that the same word for all scores 0; where all are present, or none is,
    the share that is right.

    Args:
        text: The answer.
        truth: CelebA name to whether the face has it, of every annotated attribute.
        asked: What the question asks for; empty where it asks which the face has.
    """
    hack = find_hack(text)
    if hack is not None:
        return Score(0.0, hack)
    if not asked:
        return _score_set(read_attributes(text), {name for name, holds in truth.items() if holds}, set(truth))
    known = {name: truth[name] for name in asked if name in truth}
    right = {name: said is known[name] for name, said in _said_of(text, list(known)).items()}
    shares = [_share([right[name] for name in known if known[name] is side]) for side in (True, False)]
    told = [share for share in shares if share is not None]
    value = max(0.0, sum(told) - 1.0) if len(told) == 2 else sum(told)
    return Score(value, "right" if value == 1.0 else f"{sum(right.values())} of {len(right)}")


def score_manipulation(text: str, truth: bool, question: str = "") -> Score:
    """Score whether a picture is manipulated, with the confidence that the answer states.

    ``(1 + c - (q - c)²) / 2`` with c 1 for the right verdict and 0 for a wrong one, and q the confidence in it, 1 where
    none is stated: the reward of Damani et al. 2025 (arXiv 2507.16806, section 3) on the scale from 0 to 1. It is
    highest in expectation for the likelier verdict with its true probability; a right verdict without doubt scores 1,
    a wrong one 0, one at 50% 0.875 or 0.375.

    Args:
        text: The answer.
        truth: Whether the picture is manipulated.
        question: What was asked, so that a mere "yes" can be read.
    """
    hack = find_hack(text)
    if hack is not None:
        return Score(0.0, hack)
    reading = read_manipulation(text, yes_means=meaning_of_yes(question) if question else None)
    return _score_verdict(reading, truth, strip_thoughts(text)[0], of_yes=True)


def score_verification(text: str, truth: bool, question: str = SAME_PERSON) -> Score:
    """Score whether two pictures show the same person, with the confidence stated, as ``score_manipulation``.

    Args:
        text: The answer.
        truth: Whether they do.
        question: What was asked; "yes" to it is taken as the same person.
    """
    hack = find_hack(text)
    if hack is not None:
        return Score(0.0, hack)
    answer = strip_thoughts(text)[0]
    reading, stated = read_yes_or_no(text, question), _read_same_person(answer)
    if stated.rule is Rule.CONTRADICTORY or reading.rule is Rule.NOTHING:
        reading = stated
    return _score_verdict(reading, truth, answer)


def score_format(text: str, least_words: int = _LEAST_REASON) -> Score:
    """Score the form ``<think>reasons</think><answer>answer</answer>``: 1 where it is kept, else 0.

    Nothing else stands around it, and the reasons have at least so many different words; where they only repeat the
    answer they are none. Single letters are no words; each character of Chinese and Japanese is one.

    Args:
        text: The answer.
        least_words: Of the reasons.
    """
    hack = find_hack(text)
    if hack is not None:
        return Score(0.0, hack)
    found = _FORM.fullmatch(text)
    if found is None:
        return Score(0.0, "another form")
    reasons = set(_WORD.findall(found[1].lower())) - set(_WORD.findall(found[2].lower()))
    if len(reasons) < least_words:
        return Score(0.0, f"reasons of {len(reasons)} words")
    if len(found[2].strip()) > LONGEST_SPAN or not re.search(r"\w", found[2]):
        return Score(0.0, "an answer that is none" if found[2].strip() else "no answer")
    return Score(1.0, "right")


def score_answer(task: str, text: str, labels: FaceLabels, question: str = "") -> Score | None:
    """Score an answer to one of the five tasks by a record's labels.

    Args:
        task: One of ``facekit.data.labels.TASKS``.
        text: The answer.
        labels: The record's.
        question: What was asked. An English yes/no question about one attribute is answered by yes or no.

    Returns:
        The score; None where the task is another one or the record has no label for it, so that nothing can be said,
        as of a yes/no question about an attribute that the record does not have or the question does not name.
    """
    if task == "expression" and labels.expression is not None:
        classes = EXPRESSIONS if labels.expression in EXPRESSIONS else (*EXPRESSIONS, labels.expression)
        return score_expression(text, labels.expression, classes)
    if task == "age" and labels.age is not None:
        return score_age(text, labels.age)
    if task == "action_units" and labels.action_units:
        return score_units(text, labels.action_units)
    if task == "attributes" and labels.attributes:
        if yes_or_no_question(question) is None:
            return score_attributes(text, labels.attributes)
        asked = attribute_asked_for(question)
        return None if asked not in labels.attributes else score_attributes(text, labels.attributes, [asked])
    if task == "manipulation" and labels.manipulated is not None:
        return score_manipulation(text, labels.manipulated, question)
    return None


def _committed_words(text: str, reading: Reading[str] | Reading[float]) -> str | None:
    """The words that an answer is held to: of a marked one the mark and what follows it, else all behind its thoughts.

    None for a mark that holds more than an answer.
    """
    answer = strip_thoughts(text)[0]
    if reading.rule not in _MARKED:
        return answer
    if len(reading.span) >= LONGEST_SPAN:
        return None
    start = answer.rfind(reading.span)
    return answer if start < 0 else answer[start:]


def _read_same_person(answer: str) -> Reading[bool]:
    """Read "the same person" and "different people", where an answer says neither yes nor no."""
    said = {(match["same"] is not None) != bool(match["not"]) for match in _SAME_PERSON.finditer(answer.lower())}
    if len(said) == 1:
        return Reading(said.pop(), Rule.STATEMENT, answer)
    return Reading(None, Rule.CONTRADICTORY if said else Rule.NOTHING)


def _named_expressions(words: str, classes: Sequence[str]) -> set[str]:
    """Expressions that are named and not denied, those that merely may be included."""
    normalised = normalise_words(unified(words))
    for vocabulary in vocabularies_for(normalised):
        claims = Clauses(normalised, vocabulary).find(vocabulary.labels("expressions", "names"))
        found = {claim.label for claim in claims if claim.holds is not False and claim.label in classes}
        if found:
            return found
    return set()


def _named_ages(words: str) -> set[float]:
    """Ages that sentences state, and the numbers of ranges and lists."""
    ages = {age for sentence in split_sentences(words) if (age := read_age(sentence).value) is not None}
    normalised = normalise_words(unified(words))
    for vocabulary in vocabularies_for(normalised)[:1]:
        for run in _RUN.findall(digits_for_words(normalised, vocabulary)):
            ages |= {float(number) for number in re.findall(r"\d+", run) if float(number) <= OLDEST}
    return ages


def _score_set(reading: Reading[frozenset[str]], truth: set[str], known: set[str]) -> Score:
    if reading.value is None:
        return Score(0.0, reading.rule.value)
    named = reading.value & known
    if not truth:
        return Score(0.0, f"{len(named)} where there is none") if named else Score(1.0, "right")
    score, all_named = _f1(named, truth), _f1(known, truth)
    if all_named < 1.0:
        score = max(0.0, (score - all_named) / (1.0 - all_named))
    return Score(
        score, "right" if score == 1.0 else f"{len(named & truth)} of {len(truth)} and {len(named - truth)} wrong"
    )


def _said_of(text: str, names: Sequence[str]) -> dict[str, bool | None]:
    """Whether each attribute is said to be there; of several, those not named are denied where anything is said."""
    said = {name: read_presence(text, name).value for name in names}
    present = read_attributes(text, names).value if len(names) > 1 else None
    is_said = any(each is not None for each in said.values()) or _says_none(text)
    if present is None or not (is_said or present & set(names)):
        return said
    return {name: name in present if each is None else each for name, each in said.items()}


def _says_none(text: str) -> bool:
    words = normalise_words(unified(strip_thoughts(text)[0]))
    return any(each.words("no_attributes").search(words) for each in vocabularies_for(words)[:1])


def _share(right: Sequence[bool]) -> float | None:
    return sum(right) / len(right) if right else None


def _f1(named: set[str] | frozenset[str], truth: set[str]) -> float:
    return 2 * len(named & truth) / (len(named) + len(truth))


def _score_verdict(reading: Reading[bool], truth: bool, words: str = "", *, of_yes: bool = False) -> Score:
    if reading.value is None:
        return Score(0.0, reading.rule.value)
    confidence = find_confidence(words, verdict=reading.value if of_yes else True)
    if confidence is None:
        return Score(0.0, "several confidences")
    correct = float(reading.value == truth)
    value = (1.0 + correct - (confidence - correct) ** 2) / 2
    return Score(value, "right" if value == 1.0 else f"{'right' if correct else 'wrong'} at {confidence:.0%}")
