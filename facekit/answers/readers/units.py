"""``read_action_units``: the action units that an answer says are active, by code, by number in a list, or by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from facekit.answers.languages.vocabulary import Finder, Vocabulary
from facekit.answers.readers.shape import (
    RULES,
    Rank,
    is_conclusion,
    is_modal,
    is_undecided,
    mark_of,
    read_answer,
    verdict_of,
)
from facekit.answers.reading import Reading, Rule
from facekit.answers.text.claims import Claim, Clauses
from facekit.answers.text.discourse import takes_back
from facekit.answers.text.statements import Answer, Statement

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
_LISTED = re.compile(rf"{_HEAD}{_CODE}(?P<more>(?:{_JOINT}{_NEXT}){{0,40}})")
_NAME_BEHIND = re.compile(r"\s*[(\[][^)\]\n]{0,80}[)\]]")
_VALUE = re.compile(
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
ACTIVE_SHARE, ACTIVE_LEVEL = 0.5, 1.0
_HIGHEST_LEVEL = 5.0


@dataclass(frozen=True)
class _Unit:
    """One mention of units: whether it is said to be active, or the number that says so."""

    codes: tuple[str, ...]
    is_active: bool
    value: float | None = None
    is_percent: bool = False
    is_open: bool = False


def read_action_units(text: str) -> Reading[frozenset[str]]:
    """Read the action units that are said to be active.

    Numbers behind units are probabilities where none of them is above 1, percent where they say so or are above 5, and
    intensities from 0 to 5 otherwise; active is from a probability of 0.5, or an intensity of 1, on.

    Args:
        text: The answer.

    Returns:
        Codes such as ``{"AU6", "AU12"}``; empty where the answer says that there are none; None where it names none
        and does not say so.
    """
    return read_answer(text, _read)


def _read(answer: Answer, vocabulary: Vocabulary) -> Reading[frozenset[str]]:
    found: list[tuple[Rank, list[_Unit], Statement]] = []
    empty: tuple[Rank, Statement] | None = None
    verdicts: dict[str, bool | None] = {}
    undecided = False
    for statement in answer.statements:
        if vocabulary.raw("others").search(statement.text) and statement.rule is Rule.STATEMENT:
            continue
        rank = mark_of(statement, vocabulary, "units") or _plain_rank(statement, vocabulary)
        units = list(_units(statement, vocabulary))
        topic = _topic_verdict(statement, vocabulary, has_units=bool(units))
        verdicts.update(topic)
        if any(unit.is_open for unit in units):
            undecided = True
            units = [unit for unit in units if not unit.is_open]
        if units:
            found.append((rank, units, statement))
        elif topic:
            continue
        elif _says_none(statement, vocabulary, rank):
            empty = (rank, statement) if empty is None or rank >= empty[0] else empty
        else:
            undecided = undecided or is_undecided(statement.text, vocabulary)
    found = [each for each in found if each[0] is not Rank.ASIDE] or found
    if empty is not None and (not found or empty[0] > max(rank for rank, _, _ in found)):
        return Reading(frozenset(), RULES[empty[0]], empty[1].source)
    if not found:
        return Reading(None, Rule.UNDECIDED if undecided else Rule.NOTHING)
    best = max(rank for rank, _, _ in found)
    if (
        best < Rank.FIELD
        and found[-1][2] is not answer.statements[-1]
        and takes_back(answer.statements[-1], vocabulary)
    ):
        return Reading(None, Rule.UNDECIDED, answer.statements[-1].source)
    kept = _of_rank(found, best, vocabulary)
    units = [unit for _, group, _ in kept for unit in group]
    active = _active(units, _contradicted(kept))
    if active is None:
        return Reading(None, Rule.CONTRADICTORY, kept[-1][2].source)
    active = frozenset((active | {code for code, holds in verdicts.items() if holds})
                       - {code for code, holds in verdicts.items() if not holds})  # fmt: skip
    rule = RULES[best] if best >= Rank.CONCLUSION else Rule.LIST
    return Reading(active, rule, kept[-1][2].source if best >= Rank.CONCLUSION else kept[0][2].source)


_Found = tuple[Rank, list[_Unit], Statement]


def _plain_rank(statement: Statement, vocabulary: Vocabulary) -> Rank:
    """The rank of an unmarked statement: a conclusion where it says that what it lists is the coding."""
    text = statement.text
    sums_up = vocabulary.words("discourse", "sums_up").search(text) is not None
    return Rank.CONCLUSION if sums_up and is_conclusion(text, vocabulary) else Rank.STATEMENT


def _of_rank(found: Sequence[_Found], best: Rank, vocabulary: Vocabulary) -> list[_Found]:
    """What counts: everything, or what is marked best with the lines that go on with it."""
    if best < Rank.CONCLUSION:
        return list(found)
    first = next(place for place, each in enumerate(found) if each[0] == best)
    if best < Rank.FIELD:
        return [each for place, each in enumerate(found) if place >= first]
    return [each for each in found if each[0] == best or _goes_on(each[2], vocabulary)]


def _contradicted(found: Sequence[_Found]) -> set[str]:
    """Codes that one field says are active and another of the same name that they are not."""
    said: dict[str, dict[str, bool]] = {}
    twice: set[str] = set()
    for _, units, statement in found:
        for unit in units:
            for code in unit.codes if statement.key else ():
                named = said.setdefault(f"{statement.key} {statement.headings}", {})
                is_active = unit.is_active if unit.value is None else unit.value > 0
                if named.setdefault(code, is_active) != is_active:
                    twice.add(code)
    return twice


def _topic_verdict(statement: Statement, vocabulary: Vocabulary, *, has_units: bool) -> dict[str, bool | None]:
    """What a statement says of the unit that its line or its heading names: "Not active.", "so it is present"."""
    names = [name for name in (statement.topic, *reversed(statement.headings)) if name]
    topic = statement.key if has_units and statement.key else "" if has_units else next(iter(names), "")
    codes = _codes_of(topic, vocabulary)
    text = statement.value if has_units else statement.text
    if not codes or set(_codes_of(text, vocabulary)) - set(codes):
        return {}
    holds = verdict_of(text, vocabulary)
    if holds is not None:
        return dict.fromkeys(codes, holds)
    if not has_units and vocabulary.words("discourse", "unknowable").search(text):
        return dict.fromkeys(codes, None)
    if has_units and statement.value and vocabulary.words("discourse", "quiet").search(text) and not _VALUE.match(text):
        others = Clauses(text, vocabulary)
        if not others.find(vocabulary.labels("units")) and not vocabulary.words("yes").search(text):
            return dict.fromkeys(codes, False)
    return {}


def _codes_of(topic: str, vocabulary: Vocabulary) -> list[str]:
    """The codes of the units that a key names, where it names nothing else."""
    if not topic:
        return []
    found = [f"AU{int(number)}" for match in _LISTED.finditer(topic) for number in _numbers_of(match)]
    return found or [claim.label for claim in Clauses(topic, vocabulary).find(vocabulary.labels("units"))]


def _numbers_of(match: re.Match[str]) -> list[str]:
    return [match[1], *re.findall(r"(\d{1,2})[a-e]?", match["more"] or "")]


def _goes_on(statement: Statement, vocabulary: Vocabulary) -> bool:
    """Whether a statement is a row of a table, or a line that begins with a unit: more of what stands above it."""
    if statement.rule is Rule.FIELD:
        return True
    begins: tuple[Finder, ...] = (_LISTED, *vocabulary.labels("units").values())
    return statement.is_alone and any(pattern.match(statement.text) for pattern in begins)


def _active(units: Sequence[_Unit], contradicted: set[str]) -> frozenset[str] | None:
    """The codes of the active units; None where nothing is left of what is contradicted."""
    values = [unit.value for unit in units if unit.value is not None and not unit.is_percent]
    highest = max(values, default=0.0)
    active: set[str] = set()
    off: set[str] = set()
    for unit in units:
        if unit.value is None:
            is_active = unit.is_active
        elif unit.is_percent or highest > _HIGHEST_LEVEL:
            is_active = unit.value / 100 >= ACTIVE_SHARE
        elif highest <= 1.0:
            is_active = unit.value >= ACTIVE_SHARE
        else:
            is_active = unit.value >= ACTIVE_LEVEL
        (active if is_active else off).update(unit.codes)
    measured = {code for unit in units if unit.value is not None for code in unit.codes}
    if contradicted and not active - contradicted:
        return None
    return frozenset(active - contradicted - (off & measured) - {"AU0"})


def _says_none(statement: Statement, vocabulary: Vocabulary, rank: Rank) -> bool:
    if statement.key and vocabulary.words("deny", "heading").search(statement.key):
        return False
    if any(vocabulary.words("deny", "heading").search(name) for name in statement.headings):
        return False
    text = statement.text
    if vocabulary.words("discourse", "hidden").search(text) or vocabulary.words("discourse", "unknowable").search(text):
        return False
    none = vocabulary.raw("discourse", "none_of").search(text) is not None
    if none and vocabulary.words("unit_words").search(text):
        return True
    value = statement.value.strip(" .[]{}")
    if rank >= Rank.FIELD and (not value or vocabulary.words("nothing").fullmatch(value)):
        return True
    return bool(vocabulary.words("no_units").search(statement.text)) or statement.text.strip(" .") in ("[]", "{}")


def _units(statement: Statement, vocabulary: Vocabulary) -> Iterator[_Unit]:
    written = statement.text
    if statement.key.isdigit() and _is_value(statement.value, vocabulary):
        written = f"au{statement.key}: {statement.value}"
    clauses = Clauses(_spread(written, vocabulary), vocabulary)
    text = clauses.text
    denied = _is_denying(statement, vocabulary)
    bare = _BARE.fullmatch(statement.value.strip(" .")) if _is_listing(statement, vocabulary) else None
    if bare is not None and not _LISTED.search(text):
        codes = tuple(f"AU{int(number)}" for number, _ in _FACTOR.findall(statement.value))
        yield _Unit(codes, not denied)
        return
    if not denied and not _LISTED.search(text) and (summed := _SUM.search(text)) is not None:
        yield _Unit(tuple(f"AU{int(number)}" for number, _ in _FACTOR.findall(summed[0])), is_active=True)
        return
    run = None if denied or _LISTED.search(text) else _RUN.search(_BRACKETED.sub(_blank, text))
    if run is not None and vocabulary.words("discourse", "carries").search(text):
        yield _Unit(tuple(f"AU{number}" for number in re.findall(r"\d+", run[0])), is_active=True)
        return
    names = clauses.find(vocabulary.labels("units"))
    told: set[int] = set()
    for match in _LISTED.finditer(text):
        own = _own_name(match, names, text)
        told.update(index for index, claim in enumerate(names) if match.start() <= claim.start < (own or match.end()))
        yield _listed(match, clauses, statement, own or match.end(), is_off=denied)
    for index, claim in enumerate(names):
        if index not in told:
            code = re.compile(rf"\s?\(\s?(?:au\s?)?0*{claim.label[2:]}\s?\)").match(text, claim.end)
            value, is_percent = _value(text, code.end() if code is not None else claim.end)
            is_open = claim.is_open or claim.is_asked or (not claim.denied and is_modal(clauses, claim.start))
            yield _Unit(
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
    names = [name for name in (statement.key, *statement.headings) if name and not _LISTED.search(name)]
    return any(heading.search(name) for name in names if not vocabulary.labels("units").keys() & {name})


def _listed(match: re.Match[str], clauses: Clauses, statement: Statement, end: int, *, is_off: bool) -> _Unit:
    numbers = _numbers_of(match)
    codes, more = tuple(f"AU{int(number)}" for number in numbers), numbers[1:]
    text, vocabulary = clauses.text, clauses.vocabulary
    if statement.rule is Rule.FIELD and ", " in statement.value and match.start() < len(statement.key):
        for cell in statement.value.split(", "):
            if vocabulary.words("no").fullmatch(cell) or vocabulary.words("yes").fullmatch(cell):
                return _Unit(codes, not is_off and not vocabulary.words("no").fullmatch(cell))
    behind = _NAME_BEHIND.match(text, end)
    value, is_percent = _value(text, end)
    if value is None and behind is not None:
        value, is_percent = _value(text, behind.end())
    if value is not None and not more:
        return _Unit(codes, not is_off, value, is_percent)
    start = match.start() - 1 if text[max(0, match.start() - 1) : match.start()] == "(" else match.start()
    close = end + 1 if start < match.start() and text[end : end + 1] == ")" else end
    denied = clauses.is_denied(start, close)
    if not denied and behind is not None:
        denied = clauses.is_denied(match.start(), behind.end())
    is_open = clauses.is_open(start, close) or (not denied and is_modal(clauses, match.start()))
    return _Unit(codes, not (is_off or denied), is_open=is_open)


def _value(text: str, place: int) -> tuple[float | None, bool]:
    """A number behind a unit, and whether it is in percent."""
    match = _VALUE.match(text, place)
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
