"""``units_of``: each mention of action units in a statement, by code, number or name, and its value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.readers.shape import is_modal
from facekit.answers.reading import Rule
from facekit.answers.text.claims import Claim, Clauses
from facekit.answers.text.statements import Statement

_CODE = r"[lrbtmu]?0*(\d{1,2})([a-e])?(?![\d.]*\d|\.\d|[a-z])"
_JOINT = (
    r"(?>\s*(?:,\s*(?:and|und|y|et|e)?|\+|/|&|;(?!\s*au)|、|と|和|and\b|und\b|y\b|et\b|e\b|or\b|plus\b|as well as)\s*)"
)
_UNIT_WORDS = "|".join([
    "aus?", "action units?", "unidad(?:es)? de acci[oó]n", "unidades? de a[cç][aã]o", "unit[eé]s? d'action",
    "unit[eé]s(?= acti)", "unidades(?= ac?tiv)", "units(?= (?:are |that are )?(?:active|present))",
    "aktionseinheit(?:en)?", "bewegungseinheit(?:en)?", "动作单元", "動作単位", "アクションユニット", "facs", "ua",
])  # fmt: skip
_STATE = r"(?: (?:are |that are )?(?:present|active|detected|visible|activ[ae]s?|ativas?|aktiv)(?: are)?)?"
_COPULA = r"(?: (?:are|is|sont|est|son|são|sind)(?: the)?(?: (?:la|le|les|las|los|a|as))?)?"
_HEAD = rf"(?<![a-z])(?:[lrbtu])?(?:{_UNIT_WORDS})(?: codes?)?{_STATE}{_COPULA}[ :=\[#-]*"
_NEXT = r"(?:aus?[ -]?|la |le |a |o )?[lrbu]?0*\d{1,2}[a-e]?(?![\d%a-z]|\.\d|\s?(?:%|/\s?5|years?|percent))"
LISTED = re.compile(rf"{_HEAD}{_CODE}(?P<more>(?:{_JOINT}{_NEXT}){{0,40}})")
_NAME_BEHIND = re.compile(r"\s*[(\[][^)\]\n]{0,80}[)\]]")
VALUE = re.compile(
    r"\s*(?:[-:=,|~≈]\s*)*\(?\s*(?:(?:with|at|an?|intensity|intensit[äa]t|intensidad|intensit[eé]|intensidade|level|score|strength|probability|prob|"
    r"confidence|likelihood|present|active|yes|p|value|强度|強度|概率|確率)\s*(?:of|is|von|de|:|=|,)?\s*){0,4}(?P<number>\d{1,3}(?:[.,]\d{1,4})?)(?![\d])"
    r"\s*(?P<unit>%|/\s*5\b|/\s*100\b|/\s*10\b|percent\b)?"
)
_BARE = re.compile(
    rf"(?:facs|aus?)?[\s:\[(]*[lrbu]?\d{{1,2}}[a-e]?(?:(?:{_JOINT}|\s+)(?:aus?)?[lrbu]?\d{{1,2}}[a-e]?){{0,40}}[\s\])]*\.?"
)
_SUM = re.compile(r"(?<![\w.+])\d{1,2}[a-e]?(?:\s?\+\s?\d{1,2}[a-e]?){1,24}(?![\w%]|\s?=)")
_KNOWN = "1|2|4|5|6|7|9|10|12|14|15|17|20|23|24|25|26"
_RUN = re.compile(
    rf"(?<![\w.,])(?:{_KNOWN})(?:(?:, and | and |, | und | y | et | e |、|和|と)(?:{_KNOWN})(?!\d|\.\d|%)){{1,16}}"
    r"(?!\s?(?:years?|jahre|años|ans|anos|%|/))"
)
_BRACKETED = re.compile(r"\[[^\]]{0,200}\]")
_FACTOR = re.compile(r"[lrbu]?0*(\d{1,2})([a-e])?")


@dataclass(frozen=True)
class Unit:
    """One mention of units: whether it is said to be active, or the number that says so."""

    codes: tuple[str, ...]
    is_active: bool
    value: float | None = None
    is_percent: bool = False
    is_open: bool = False


def units_of(statement: Statement, vocabulary: Vocabulary) -> Iterator[Unit]:
    """Every mention of units in a statement."""
    written = statement.text
    if statement.key.isdigit() and _is_value(statement.value, vocabulary):
        written = f"au{statement.key}: {statement.value}"
    clauses = Clauses(_spread(written, vocabulary), vocabulary)
    text = clauses.text
    denied = _is_denying(statement, vocabulary)
    bare = _BARE.fullmatch(statement.value.strip(" .")) if _is_listing(statement, vocabulary) else None
    if bare is not None and not LISTED.search(text):
        codes = tuple(f"AU{int(number)}" for number, _ in _FACTOR.findall(statement.value))
        yield Unit(codes, not denied)
        return
    if not denied and not LISTED.search(text) and (summed := _SUM.search(text)) is not None:
        yield Unit(tuple(f"AU{int(number)}" for number, _ in _FACTOR.findall(summed[0])), is_active=True)
        return
    run = None if denied or LISTED.search(text) else _RUN.search(_BRACKETED.sub(_blank, text))
    if run is not None and vocabulary.words("discourse", "carries").search(text):
        yield Unit(tuple(f"AU{number}" for number in re.findall(r"\d+", run[0])), is_active=True)
        return
    names = clauses.find(vocabulary.labels("units"))
    told: set[int] = set()
    for match in LISTED.finditer(text):
        own = _own_name(match, names, text)
        told.update(index for index, claim in enumerate(names) if match.start() <= claim.start < (own or match.end()))
        yield _listed(match, clauses, statement, own or match.end(), is_off=denied)
    for index, claim in enumerate(names):
        if index not in told:
            code = re.compile(rf"\s?\(\s?(?:au\s?)?0*{claim.label[2:]}\s?\)").match(text, claim.end)
            value, is_percent = _value(text, code.end() if code is not None else claim.end)
            is_open = claim.is_open or claim.is_asked or (not claim.denied and is_modal(clauses, claim.start))
            yield Unit(
                (claim.label,), not (denied or claim.denied), None if claim.denied else value, is_percent, is_open
            )


def _is_value(text: str, vocabulary: Vocabulary) -> bool:
    """Whether a text is nothing but yes, no or a number."""
    text = text.strip(" .")
    is_word = any(vocabulary.words(kind).fullmatch(text) for kind in ("yes", "no"))
    return is_word or re.fullmatch(r"-?\d(?:[.,]\d+)?|0?[.,]\d+|\d{1,3}\s?%", text) is not None


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _own_name(match: re.Match[str], names: Sequence[Claim], text: str) -> int | None:
    """Where the name of a unit ends that stands behind its code: "AU6 - cheek raiser"; None without one."""
    if match["more"]:
        return None
    code = f"AU{int(match[1])}"
    for claim in names:
        if claim.label == code and claim.start >= match.end() and not text[match.end() : claim.start].strip(" -:(,="):
            closing = re.compile(r"[^()\n]{0,30}\)").match(text, claim.end)
            return closing.end() if closing and "(" in text[match.end() : claim.start] else claim.end
    return None


def _is_listing(statement: Statement, vocabulary: Vocabulary) -> bool:
    """Whether bare numbers of a statement are units: nothing but them, or a key that names units."""
    if not statement.key:
        return True
    named = any(vocabulary.words("keys", name).fullmatch(statement.key) for name in ("units", "region"))
    return named or bool(
        vocabulary.words("keys", "final").fullmatch(statement.key)
        or vocabulary.words("deny", "heading").search(statement.key)
    )


def _is_denying(statement: Statement, vocabulary: Vocabulary) -> bool:
    heading = vocabulary.words("deny", "heading")
    names = [name for name in (statement.key, *statement.headings) if name and not LISTED.search(name)]
    return any(heading.search(name) for name in names if not vocabulary.labels("units").keys() & {name})


def _listed(match: re.Match[str], clauses: Clauses, statement: Statement, end: int, *, is_off: bool) -> Unit:
    numbers = _numbers_of(match)
    codes, more = tuple(f"AU{int(number)}" for number in numbers), numbers[1:]
    text, vocabulary = clauses.text, clauses.vocabulary
    if statement.rule is Rule.FIELD and ", " in statement.value and match.start() < len(statement.key):
        for cell in statement.value.split(", "):
            if vocabulary.words("no").fullmatch(cell) or vocabulary.words("yes").fullmatch(cell):
                return Unit(codes, not is_off and not vocabulary.words("no").fullmatch(cell))
    behind = _NAME_BEHIND.match(text, end)
    value, is_percent = _value(text, end)
    if value is None and behind is not None:
        value, is_percent = _value(text, behind.end())
    if value is not None and not more:
        return Unit(codes, not is_off, value, is_percent)
    start = match.start() - 1 if text[max(0, match.start() - 1) : match.start()] == "(" else match.start()
    close = end + 1 if start < match.start() and text[end : end + 1] == ")" else end
    denied = clauses.is_denied(start, close)
    if not denied and behind is not None:
        denied = clauses.is_denied(match.start(), behind.end())
    is_open = clauses.is_open(start, close) or (not denied and is_modal(clauses, match.start()))
    return Unit(codes, not (is_off or denied), is_open=is_open)


def _value(text: str, place: int) -> tuple[float | None, bool]:
    """A number behind a unit, and whether it is in percent."""
    match = VALUE.match(text, place)
    if match is None or text[place : match.start("number")].strip() in ("", ","):
        return None, False
    value = float(match["number"].replace(",", "."))
    unit = (match["unit"] or "").replace(" ", "")
    return value * 10 if unit == "/10" else value, unit in ("%", "percent", "/100", "/10")


def _spread(text: str, vocabulary: Vocabulary) -> str:
    """Turn "lips are stretched and parted" into two statements, and "inner and outer brow raiser" into two names."""
    parts = vocabulary.entries("spread_units")
    if parts:
        named = "|".join(parts)
        text = re.sub(rf"\b({named}) (are|were) (\w+) and (?=\w+)", r"\1 \2 \3 and \1 \2 ", text)
        text = re.sub(r"\binner (and|or) outer ((?:eye)?brows?(?: \w+)?)", r"inner \2 \1 outer \2", text)
    return text


def codes_of(topic: str, vocabulary: Vocabulary) -> list[str]:
    """The codes of the units that a key names, where it names nothing else."""
    if not topic:
        return []
    found = [f"AU{int(number)}" for match in LISTED.finditer(topic) for number in _numbers_of(match)]
    return found or [claim.label for claim in Clauses(topic, vocabulary).find(vocabulary.labels("units"))]


def _numbers_of(match: re.Match[str]) -> list[str]:
    return [match[1], *re.findall(r"(\d{1,2})[a-e]?", match["more"] or "")]
