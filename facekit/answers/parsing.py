"""Reading labels out of free-text answers, one parser per task.

A parser returns None where the answer names no label, or names several that cannot all hold; the evaluation counts
such answers and scores them as wrong. Parsers never guess from the truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from facekit.answers.mentions import (
    Mention,
    affirmed_labels,
    find_mentions,
    highest_valued,
    is_denied,
    normalise_answer,
    without_concessions,
)
from facekit.answers.vocabulary import (
    ATTRIBUTE_WORDS,
    BEARD_WORDS,
    BEARDLESS_WORDS,
    EXPRESSION_NAMES,
    EXPRESSION_SIGNS,
    FEMALE_WORDS,
    HAIR_WORDS,
    MANIPULATION_WORDS,
    UNIT_NAMES,
)
from facekit.data.labels import EXPRESSIONS

_VERDICT = re.compile(
    r"(?:answer|expression|emotion|label|verdict|conclusion|prediction|feeling|result|mostly|mainly|primarily|"
    r"predominantly|above all|choose|pick|select|i would say|i'd say|best described as|therefore|"
    r"overall)\b[^.;\n]{0,30}?$"
)
_MINOR = re.compile(
    r"\b(?:possibly|perhaps|maybe|slight(?:ly)?|hints? (?:of|at)|touch of|traces? of|bit of|tinge of|some|might|may|"
    r"could|mistaken for|secondar(?:y|ily)|close to|similar to|mild(?:ly)?|a little|somewhat)\b[^.;,\n]{0,30}$"
)
_UNIT_LIST = re.compile(
    r"\b(?:au|action unit|facs)s?(?: codes?)?(?: (?:are )?(?:present|active|detected|visible)(?: are)?)?[ :=\[#-]*"
    r"0*(\d{1,2})(?!\d)((?:\s*(?:,|\+|/|&|and|or|plus|,\s*and)\s*0*\d{1,2}(?!\d|\.\d|%))*)"
    r"(\s*\([a-z][^)]*\))?"
)
_UNIT_VALUE = re.compile(r"\s*(?:[:=]|\(?(?:intensity|level|score)?\s*(?:of|:|=)?)\s*(\d+(?:\.\d+)?)\s*(?:/\s*5)?\)?")
_NO_UNITS = re.compile(
    r"\b(?:none|no (?:\w+ ){0,2}?(?:action units?|units?|aus?)\b(?! *\d)|no (?:\w+ )?muscle (?:activation|activity)|"
    r"\w*(?:not|n't) (?:\w+ ){0,2}any (?:\w+ ){0,2}?(?:action units?|units?|aus?)\b(?! *\d)|"
    r"nothing (?:is )?(?:active|activated)|no facial (?:muscle )?(?:movements?|actions?)|"
    r"(?:face|muscles) (?:is|are) (?:relaxed|at rest|neutral)|neutral face)"
)
_YES_OR_NO = re.compile(r"\W*(?:answer\W+)?(yes|yeah|yep|true|correct|no|nope|false)\b")
_EMPTY_LIST = re.compile(r"[^\[\]]*\[\s*\][^\[\]]*")
_BARE_UNITS = re.compile(r"\[?[\s\d,;+&/]*\d(?:\s*(?:,|and|\+|&|;|/)\s*\d{1,2})*\.?\]?")
_FEMALE = "(female)"
_NO_ATTRIBUTES = re.compile(
    r"\b(?:none|no (?:listed |visible |such |particular )?(?:attributes?|accessories)|nothing)\b"
)


def parse_expression(text: str, classes: Sequence[str] = EXPRESSIONS) -> str | None:
    """Read one of the seven expressions, or of those that a data set has.

    An outright name counts before a sign ("a sad smile" is sadness). Of several names, the one that follows words
    such as "the expression is" or "mostly" counts, or the one with the highest number ("happiness: 0.8, sadness:
    0.1"), or the one that is not a mere possibility; several without such words are no answer.

    Args:
        text: The answer.
        classes: The expressions to choose from, names of ``facekit.data.labels.ALL_EXPRESSIONS``.

    Returns:
        One of the classes, or None.
    """
    text = normalise_answer(text)
    tables = [
        {name: table[name] for name in classes if name in table} for table in (EXPRESSION_NAMES, EXPRESSION_SIGNS)
    ]
    return _read_expression(text, tables) or _read_expression(without_concessions(text), tables)


def parse_action_units(text: str) -> frozenset[str] | None:
    """Read the action units that are said to be active, by code, by number in a list, or by name.

    Returns:
        Codes such as ``{"AU6", "AU12"}``; empty where the answer says that there are none; None where it names none
        and does not say so.
    """
    text = _spread_shared_verbs(normalise_answer(text))
    if _EMPTY_LIST.fullmatch(text):
        return frozenset()
    if _BARE_UNITS.fullmatch(text):
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
    active = (active | affirmed_labels(mentions)) - {"AU0"}
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
    text = _spread_hair(normalise_answer(text))
    mentions = find_mentions(text, {**words, _FEMALE: FEMALE_WORDS})
    beards = find_mentions(text, {"beard": BEARD_WORDS, "beardless": BEARDLESS_WORDS})
    present = affirmed_labels(mentions) - {_FEMALE}
    if any(mention.denied == (mention.label == "beard") for mention in beards):
        present.add("No_Beard")
    if mentions or beards:
        return frozenset(present)
    return frozenset() if _NO_ATTRIBUTES.search(text) or _EMPTY_LIST.fullmatch(text) else None


def parse_presence(text: str, name: str) -> bool | None:
    """Read whether a face is said to have one attribute, from the answer to a question about it alone.

    Args:
        text: The answer: "yes", "no", or a statement about the attribute.
        name: CelebA name.

    Returns:
        Whether it has it, or None where the answer does not say.
    """
    text = _spread_hair(normalise_answer(text))
    if name == "No_Beard":
        beards = find_mentions(text, {"beard": BEARD_WORDS, "beardless": BEARDLESS_WORDS})
        held = {mention.denied == (mention.label == "beard") for mention in beards}
    else:
        held = {not mention.denied for mention in find_mentions(text, {name: ATTRIBUTE_WORDS.get(name, ())})}
    bare = _YES_OR_NO.match(text)
    if bare is not None and not (name == "No_Beard" and held):
        return bare[1] in ("yes", "yeah", "yep", "true", "correct")
    if held:
        return held.pop() if len(held) == 1 else None
    said = set(re.findall(r"\b(yes|no)\b", text))
    return said == {"yes"} if len(said) == 1 else None


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
    mentions = find_mentions(text, MANIPULATION_WORDS)
    verdicts = _verdicts(mentions)
    if len(verdicts) == 1:
        return verdicts.pop()
    if verdicts:
        return _weigh_verdicts(text, mentions)
    bare = re.match(r"(yes|yeah|true|no|nope|false)\b", text)
    if bare is None or yes_means is None:
        return None
    return yes_means == (bare[1] in ("yes", "yeah", "true"))


def _fold_own_denials(mentions: list[Mention], label: str, text: str) -> list[Mention]:
    """Let "no expression", which contains its own denial, deny nothing after it."""
    folded = []
    for mention in mentions:
        denied = mention.denied
        for other in mentions:
            own = text[other.start : other.end].startswith(("no ", "without ", "lack", "does", "do ", "is"))
            if other.label == label and own and other.end <= mention.start:
                denied = is_denied(text[other.end :], mention.start - other.end, mention.end - other.end)
        folded.append(Mention(mention.label, mention.start, mention.end, denied))
    return folded


def _single_label(text: str, mentions: list[Mention]) -> str | None:
    affirmed = [mention for mention in mentions if not mention.denied]
    if len({mention.label for mention in affirmed}) > 1:
        since = [0, *(mention.end for mention in mentions)]
        concluded = [
            mention
            for mention in affirmed
            if _VERDICT.search(text[max(end for end in since if end <= mention.start) : mention.start])
        ]
        affirmed = concluded or [mention for mention in affirmed if not _MINOR.search(text[: mention.start])]
    labels = {mention.label for mention in affirmed}
    return labels.pop() if len(labels) == 1 else None


def _read_expression(text: str, tables: Sequence[Mapping[str, Sequence[str]]]) -> str | None:
    for words in tables:
        mentions = _fold_own_denials(find_mentions(text, words), "neutral", text)
        label = highest_valued(text, mentions) or _single_label(text, mentions)
        if label is not None or affirmed_labels(mentions):
            return label
    return None


def _verdicts(mentions: Iterable[Mention]) -> set[bool]:
    return {(mention.label == "manipulated") != mention.denied for mention in mentions}


def _weigh_verdicts(text: str, mentions: Sequence[Mention]) -> bool | None:
    """Decide an answer that says both: by numbers, without what it concedes, or by its conclusion."""
    highest = highest_valued(text, mentions)
    if highest is not None:
        return highest == "manipulated"
    verdicts = _verdicts(find_mentions(without_concessions(text), MANIPULATION_WORDS))
    return verdicts.pop() if len(verdicts) == 1 else _last_verdict(text)


def _last_verdict(text: str) -> bool | None:
    match = re.search(
        r"(?:answer|verdict|conclusion|therefore|so|overall|hence|result|(?:picture|image|photo|face|it|this) is)\b"
        r"([^.;\n]*)[.;\s]*$",
        text,
    )
    if match is None:
        return None
    verdicts = _verdicts(find_mentions(match[1], MANIPULATION_WORDS))
    return verdicts.pop() if len(verdicts) == 1 else None


def _spread_hair(text: str) -> str:
    """Turn "wavy, black hair" and "hair is wavy and black" into "wavy hair, black hair", so that each is found."""
    adjective = f"(?:{'|'.join(HAIR_WORDS)})"
    filler = r"(?:(?:very|rather|dark|light|long|short|medium|thick|thin|shoulder-length)(?:, and |, | and | ))*"
    joint = r"(?:, and |, or |, | and | or | )"

    def spread(match: re.Match[str]) -> str:
        return re.sub(rf"\b({adjective})\b", r"\1 hair", match[1])

    text = re.sub(
        rf"\bhair(?: colou?r)? (?:is|looks|appears) ({filler}{adjective}(?:{joint}{filler}{adjective})*)\b",
        spread,
        text,
    )
    return re.sub(rf"\b({adjective}(?:{joint}{filler}{adjective})*) hair\b", spread, text)


def _spread_shared_verbs(text: str) -> str:
    """Turn "lips are stretched and parted" into two statements, and "inner and outer brow raiser" into two names."""
    parts = r"lips|(?:eye)?brows|eyes|lip corners|cheeks|eyelids"
    text = re.sub(rf"\b({parts}) (are|were) (\w+) and (?=\w+)", r"\1 \2 \3 and \1 \2 ", text)
    return re.sub(r"\binner (and|or) outer ((?:eye)?brows?(?: \w+)?)", r"inner \2 \1 outer \2", text)
