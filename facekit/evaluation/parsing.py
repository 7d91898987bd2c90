"""Reading labels out of free-text answers, one parser per task.

A parser returns None where the answer names no label, or names several that cannot all hold; the evaluation counts
such answers and scores them as wrong. Parsers never guess from the truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from facekit.evaluation.mentions import (
    Mention,
    affirmed_labels,
    find_mentions,
    is_denied,
    normalise_answer,
)
from facekit.evaluation.vocabulary import (
    ATTRIBUTE_WORDS,
    BEARD_WORDS,
    BEARDLESS_WORDS,
    DECADE_WORDS,
    EXPRESSION_NAMES,
    EXPRESSION_SIGNS,
    MANIPULATION_WORDS,
    NUMBER_WORDS,
    UNIT_NAMES,
)

OLDEST = 120.0
"""Ages above this many years are not read as ages."""

_VERDICT = re.compile(
    r"(?:answer|expression|emotion|label|verdict|conclusion|prediction|feeling|result|mostly|mainly|primarily|"
    r"predominantly|above all|i would say|i'd say|best described as|therefore|overall)\b[^.;\n]{0,30}?$"
)
_UNIT_LIST = re.compile(
    r"\b(?:au|action unit)s?[ -]*0*(\d{1,2})(?!\d)((?:\s*(?:,|\+|/|&|and|or|plus|,\s*and)\s*0*\d{1,2}(?![\d.%]))*)"
    r"(\s*\([a-z][^)]*\))?"
)
_UNIT_VALUE = re.compile(r"\s*(?:[:=]|\(?(?:intensity|level|score)?\s*(?:of|:|=)?)\s*(\d+(?:\.\d+)?)\s*(?:/\s*5)?\)?")
_NO_UNITS = re.compile(
    r"\b(?:none|no (?:visible |clear |facial |specific |particular |single )?(?:action )?(?:units?|aus?)\b"
    r"(?! *\d)|nothing (?:is )?(?:active|activated)|no facial (?:muscle )?(?:movements?|actions?)|"
    r"(?:face|muscles) (?:is|are) (?:relaxed|at rest|neutral)|neutral face)"
)
_NO_ATTRIBUTES = re.compile(
    r"\b(?:none|no (?:listed |visible |such |particular )?(?:attributes?|accessories)|nothing)\b"
)


def parse_expression(text: str) -> str | None:
    """Read one of the seven expressions.

    An outright name counts before a sign ("a sad smile" is sadness). Of several names, the one that follows words
    such as "the expression is" or "mostly" counts; several without such words are no answer.

    Returns:
        A name of ``facekit.data.labels.EXPRESSIONS``, or None.
    """
    text = normalise_answer(text)
    for words in (EXPRESSION_NAMES, EXPRESSION_SIGNS):
        mentions = _fold_own_denials(find_mentions(text, words), "neutral", text)
        label = _single_label(text, mentions)
        if label is not None or affirmed_labels(mentions):
            return label
    return None


def parse_action_units(text: str) -> frozenset[str] | None:
    """Read the action units that are said to be active, by code, by number in a list, or by name.

    Returns:
        Codes such as ``{"AU6", "AU12"}``; empty where the answer says that there are none; None where it names none
        and does not say so.
    """
    text = normalise_answer(text)
    if re.fullmatch(r"[\s\d,;+&/]*\d(?:\s*(?:,|and|\+|&|;|/)\s*\d{1,2})*\.?", text):
        return frozenset(f"AU{int(number)}" for number in re.findall(r"\d{1,2}", text))
    active: set[str] = set()
    named = False
    blanked = text
    for match in _UNIT_LIST.finditer(text):
        named = True
        value = _UNIT_VALUE.match(text, match.end())
        off = float(value[1]) < 1.0 if value else is_denied(text, match.start(), match.end())
        codes = {f"AU{int(number)}" for number in [match[1], *re.findall(r"\d+", match[2])]}
        if not off:
            active |= codes
        blanked = blanked[: match.start()] + " " * (match.end() - match.start()) + blanked[match.end() :]
    mentions = find_mentions(text, UNIT_NAMES)
    mentions = [mention for mention in mentions if blanked[mention.start : mention.end].strip()]
    active |= affirmed_labels(mentions)
    if active or named or mentions:
        return frozenset(active)
    return frozenset() if _NO_UNITS.search(text) else None


def parse_attributes(text: str, words: Mapping[str, Sequence[str]] = ATTRIBUTE_WORDS) -> frozenset[str] | None:
    """Read the attributes that the face is said to have.

    Saying "no beard" or "clean-shaven" affirms CelebA's ``No_Beard``; what is not named is taken as absent.

    Args:
        text: The answer.
        words: CelebA name to the regular expressions that name it.

    Returns:
        CelebA names; empty where the answer says that there are none; None where it names no attribute at all.
    """
    text = normalise_answer(text)
    mentions = find_mentions(_spread_shared_nouns(text), words)
    beards = find_mentions(text, {"beard": BEARD_WORDS, "beardless": BEARDLESS_WORDS})
    present = affirmed_labels(mentions)
    if any(mention.denied == (mention.label == "beard") for mention in beards):
        present.add("No_Beard")
    if mentions or beards:
        return frozenset(present)
    return frozenset() if _NO_ATTRIBUTES.search(text) else None


def parse_manipulation(text: str, *, yes_means: bool | None = None) -> bool | None:
    """Read whether a picture is said to be manipulated.

    Args:
        text: The answer.
        yes_means: What a bare "yes" answers, where the question says so: True if the question asks whether the
            picture is manipulated, False if it asks whether it is genuine.

    Returns:
        True for manipulated, False for genuine, None where the answer says neither or both.
    """
    text = normalise_answer(text)
    verdicts = [
        (mention.label == "manipulated") != mention.denied for mention in find_mentions(text, MANIPULATION_WORDS)
    ]
    if len(set(verdicts)) == 1:
        return verdicts[0]
    if verdicts:
        return _last_verdict(text)
    bare = re.match(r"(yes|yeah|true|no|nope|false)\b", text)
    if bare is None or yes_means is None:
        return None
    return yes_means == (bare[1] in ("yes", "yeah", "true"))


def parse_age(text: str) -> float | None:
    """Read an age in years from digits, number words, decades or ranges.

    A range gives its middle, "early thirties" 32, "thirties" 35, "late thirties" 38, "teens" 16. An explicit "35 years
    old" counts before a range beside it, and what is denied ("not 40") does not count.

    Returns:
        Years between 0 and ``OLDEST``, or None.
    """
    text = _digits_for_words(normalise_answer(text))
    for reader in (_stated_months, _stated_years, _decade, _age_range, _first_number):
        for start, end, years in reader(text):
            if 0.0 <= years <= OLDEST and not is_denied(text, start, end):
                return years
    return None


def _fold_own_denials(mentions: list[Mention], label: str, text: str) -> list[Mention]:
    """Let "no expression", which contains its own denial, deny nothing after it."""
    folded = []
    for mention in mentions:
        denied = mention.denied
        for other in mentions:
            own = text[other.start : other.end].startswith(("no ", "without ", "lack"))
            if other.label == label and own and other.end <= mention.start:
                denied = is_denied(text[other.end :], mention.start - other.end, mention.end - other.end)
        folded.append(Mention(mention.label, mention.start, mention.end, denied))
    return folded


def _single_label(text: str, mentions: list[Mention]) -> str | None:
    affirmed = [mention for mention in mentions if not mention.denied]
    labels = {mention.label for mention in affirmed}
    if len(labels) > 1:
        since = [0, *(mention.end for mention in mentions)]
        affirmed = [
            mention
            for mention in affirmed
            if _VERDICT.search(text[max(end for end in since if end <= mention.start) : mention.start])
        ]
        labels = {mention.label for mention in affirmed}
    return labels.pop() if len(labels) == 1 else None


def _last_verdict(text: str) -> bool | None:
    match = re.search(
        r"(?:answer|verdict|conclusion|therefore|so|overall|hence|result|(?:picture|image|photo|face|it|this) is)\b"
        r"([^.;\n]*)[.;\s]*$",
        text,
    )
    if match is None:
        return None
    mentions = find_mentions(match[1], MANIPULATION_WORDS)
    verdicts = {(mention.label == "manipulated") != mention.denied for mention in mentions}
    return verdicts.pop() if len(verdicts) == 1 else None


def _spread_shared_nouns(text: str) -> str:
    """Turn "black and gray hair" into "black hair and gray hair", so that each colour is found."""
    colours = r"(?:black|brown|blonde?|gr[ae]y)"
    return re.sub(rf"\b({colours}) (and|or) ({colours}) hair\b", r"\1 hair \2 \3 hair", text)


def _digits_for_words(text: str) -> str:
    decades = "|".join(DECADE_WORDS)
    units = "|".join(list(NUMBER_WORDS)[1:10])
    text = re.sub(
        rf"\b({decades})[ -]({units})\b", lambda match: str(DECADE_WORDS[match[1]] + NUMBER_WORDS[match[2]]), text
    )
    plurals = {name[:-1] + "ies": value for name, value in DECADE_WORDS.items()}
    text = re.sub(rf"\b({'|'.join(plurals)})\b", lambda match: f"{plurals[match[1]]}s", text)
    text = re.sub(rf"\b({decades})\b", lambda match: str(DECADE_WORDS[match[1]]), text)
    large = "|".join(list(NUMBER_WORDS)[10:])
    text = re.sub(rf"\b({large})\b", lambda match: str(NUMBER_WORDS[match[1]]), text)
    return re.sub(
        rf"(?<![\w-])({'|'.join(NUMBER_WORDS)})(?=[ -](?:years?|months?)\b|\.?$)",
        lambda match: str(NUMBER_WORDS[match[1]]),
        text,
    )


def _stated_months(text: str) -> Iterable[tuple[int, int, float]]:
    for match in re.finditer(r"\b(\d{1,2})[ -]months?\b", text):
        yield match.start(), match.end(), int(match[1]) / 12


def _stated_years(text: str) -> Iterable[tuple[int, int, float]]:
    number = r"(?<![\d.-])(\d{1,3}(?:\.\d+)?)"
    not_a_range = r"(?<!to )(?<!and )(?<!or )"
    for pattern in (
        rf"{not_a_range}{number}[ -]*(?:years?|yrs?|y/o|yo)\b",
        rf"\b(?:aged?|age (?:is|of|:)|age is (?:about|around|roughly)|age:|aged (?:about|around))\s*{number}"
        r"(?!\d|\s*(?:-|to|and)\s*\d|'?s\b)",
    ):
        for match in re.finditer(pattern, text):
            yield match.start(), match.end(), float(match[1])


def _decade(text: str) -> Iterable[tuple[int, int, float]]:
    offsets = {"early": 2.0, "mid": 5.0, "middle": 5.0, "late": 8.0, None: 5.0}
    for match in re.finditer(r"(?:\b(early|mid|middle|late)[ -]+(?:of )?)?(?:her |his |their )?\b([1-9]0)'?s\b", text):
        yield match.start(), match.end(), int(match[2]) + offsets[match[1]]
    teens = {"early": 13.5, "mid": 15.0, "middle": 15.0, "late": 18.0, None: 16.0}
    for match in re.finditer(r"(?:\b(early|mid|middle|late)[ -]+)?\b(?:teens|teenager|teenaged?)\b", text):
        yield match.start(), match.end(), teens[match[1]]


def _age_range(text: str) -> Iterable[tuple[int, int, float]]:
    for match in re.finditer(r"(?<![\d.])(\d{1,3})\s*(?:-|to|and|or|~)\s*(\d{1,3})(?![\d.]*\d)", text):
        low, high = int(match[1]), int(match[2])
        if low < high:
            yield match.start(), match.end(), (low + high) / 2


def _first_number(text: str) -> Iterable[tuple[int, int, float]]:
    for match in re.finditer(r"(?<![\d.a-z])(\d{1,3}(?:\.\d+)?)(?![\d%])(?! *(?:%|percent|points|landmarks))", text):
        yield match.start(), match.end(), float(match[1])
