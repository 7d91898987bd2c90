"""An answer as statements: boxed and tagged answers, fields, table rows, lines under their headings, and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from facekit.answers.reading import Rule
from facekit.answers.text.fields import Field, split_json
from facekit.answers.text.normalising import bounded, normalise_key, normalise_words, unified
from facekit.endpoints.texts import strip_control_tokens, strip_thoughts

MOST_STATEMENTS = 300
LONGEST_STATEMENT = 800
"""Characters; longer ones are cut, so that what is done with one of them takes bounded time."""

_TAG = re.compile(
    r"<(answer|final_answer|final|conclusion|result|response|output|verdict|label|prediction|summary)>"
    r"|<\|begin_of_box\|>|\\boxed\s?\{|\\fbox\s?\{",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"<!--.{0,4000}?(?:-->|$)", re.DOTALL)
_ADDRESSED = re.compile(
    r"\[[^\]\n]{0,200}?\b(?:grader|judge|evaluator|parser|scorer|system|admin)\b[^\]\n]{0,300}\]"
    r"|<(system|note|instructions?|grader|admin)>.{0,600}?</\1>",
    re.IGNORECASE | re.DOTALL,
)
"""What is said to a grader, which is no part of the answer."""
_CONTINUATION = re.compile(
    r"\n\s{0,9}(?:#{1,6}\s?)?(?:question|q|user|human|usuario|benutzer|utilisateur|用户|问题|質問|ユーザー)\s?\d{0,3}\s?[:：]",
    re.IGNORECASE,
)
_TABLE_ROW = re.compile(r"^\s*\|.*\|\s*$|^[^|\n]+(?:\s\|\s[^|\n]+)+$")
_NUMBERED = re.compile(r"(?:aus?|facs|action units?|uas?|units?|动作单元|動作單元|アクションユニット)(?![a-z])")
"""The head of a table's first column where its numbers are action units."""
_DECIDED = re.compile(
    r"-?\d{1,3}(?:[.,]\d+)?\s?(?:%|/\s?\d+)?|yes|no|true|false|ja|nein|s[ií]|oui|non|sim|não|nao|是|否|有|无|無|なし|あり"
    r"|はい|いいえ|(?:not )?(?:present|active|visible|detected)|absent|inactive|present|"
    r"(?:in)?aktiv|(?:nicht )?vorhanden|presente|ausente|inactiv[oa]|activ[oa]|ativ[oa]|inativ[oa]|présente?|absente?"
    r"|verdadeiro|falso|verdadero|vrai|faux|wahr|falsch"
)
"""A cell that says yes or no, or a number; remarks in the cells beside it are left out."""
_RULER = re.compile(r"^[\s|:+=-]*$")
_LIST_MARK = re.compile(
    r"^(?:\s*(?:[-*•·▪●○◦‣+]|\(?\d{1,2}[.)](?!\d)|\(?[ivx]{1,4}[.)]|[a-z]\)|第[一二三四五六七八九十]+步[:：]?)\s+|\s*#{1,6}\s+|\s*>\s*)+"
    r"|^\s*[•·▪●]\s*"
)
_STEP = re.compile(
    r"^(?:\*\*)?\s*(?:step|schritt|paso|étape|etape|passo|步骤|ステップ|手順)\s?\d{1,2}\s?(?:\*\*)?\s*[:.)：-]\s*",
    re.IGNORECASE,
)
_KEY = re.compile(r"^(?P<key>[^:=|\n.!?;,]{1,60}?)\s*(?::(?!\d)|(?<![<>])=+>?|->|\s-+>?\s)\s*(?P<value>.*)$", re.DOTALL)
_LONGEST_KEY = 7
_LONGEST_HEADING = 8
"""Words from which on a line before a list is read as a statement too: "I'd say 55 to 60, mainly because of:"."""
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*|__([^_\n]{1,80})__|<(?:b|strong)>([^<\n]{1,80})</")
_END = re.compile(r"[.!?]+[\"')\]*_”’»]*\s+|[。！？]+[」』”’\"')\]*]*\s*")
_ABBREVIATIONS = frozenset(
    [
        "approx",
        "ca",
        "e.g",
        "i.e",
        "eg",
        "ie",
        "etc",
        "vs",
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "nr",
        "fig",
        "z.b",
        "bzw",
        "d.h",
        "usw",
        "aprox",
        "env",
        "p.ej",
        "p.ex",
        "est",
        "y.o",
        "yr",
        "yrs",
        "sr",
        "sra",
        "st",
        "min",
        "max",
        "resp",
    ]
)
_ANSWERED_QUESTION = re.compile(
    r"\?[\"'*_)\s]{0,6}(?:[-:>]{1,2}\s{0,3})?(?=(?:yes|no|nope|yeah|ja|nein|sí|si|oui|non|sim|não|nao|是|否|不|はい|いいえ)"
    r"(?![a-zà-ÿ]))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Statement:
    """A part of an answer that is read as one.

    Args:
        text: Its normalised words.
        source: Its words as they stand.
        rule: ``BOXED``, ``TAGGED``, ``FIELD`` for JSON and tables, or ``STATEMENT``.
        key: What stands before its colon, normalised; empty without one.
        value: What stands behind it; the whole text without a key.
        headings: The headings that it stands under, normalised.
        bold: What is set bold in it, normalised.
        is_alone: Whether it is a line of its own.
        topic: The key of the line that it goes on with: "AU1" for "The forehead is smooth." in
            "AU1: The forehead is smooth. Not active."; empty for the line's first statement.
    """

    text: str
    source: str
    rule: Rule = Rule.STATEMENT
    key: str = ""
    value: str = ""
    headings: tuple[str, ...] = ()
    bold: tuple[str, ...] = ()
    is_alone: bool = False
    topic: str = ""


@dataclass(frozen=True)
class Answer:
    """A model's answer as statements.

    Args:
        statements: In the order of the text, what is boxed or tagged last.
        problem: Why there are none: ``EMPTY`` or ``CUT_OFF``.
        words: All of its normalised words, for telling the language.
    """

    statements: tuple[Statement, ...]
    problem: Rule | None = None
    words: str = field(default="", repr=False)


def split_answer(text: str) -> Answer:
    """Split an answer into statements.

    Args:
        text: What the model wrote; thoughts, control tokens and a conversation that it goes on with are left out, and
            of very long answers the middle.
    """
    text, is_cut = strip_thoughts(text)
    marked, text = _marked(_ADDRESSED.sub(" ", _COMMENT.sub(" ", bounded(text))))
    if marked is None:
        return Answer((), Rule.CONTRADICTORY)
    text = strip_control_tokens(text)
    going_on = _CONTINUATION.search(text)
    if going_on and text[: going_on.start()].strip():
        text = text[: going_on.start()]
    fields, rest = split_json(text)
    statements = [*_lines(rest), *(_of_field(each, Rule.FIELD) for each in fields)]
    for rule, inside in marked:
        inner, outer = split_json(inside)
        statements += [_under(each, rule) for each in (*_lines(outer), *(_of_field(each, rule) for each in inner))]
    statements = statements[-MOST_STATEMENTS:]
    if not statements:
        return Answer((), Rule.CUT_OFF if is_cut else Rule.EMPTY)
    return Answer(tuple(statements), None, normalise_words(unified(text))[: 2 * LONGEST_STATEMENT])


def _marked(text: str) -> tuple[list[tuple[Rule, str]] | None, str]:
    """What is boxed or tagged, the last of each kind, and the text around it; None where one tag has two texts."""
    found: dict[Rule, str] = {}
    texts: dict[str, str] = {}
    for match in _TAG.finditer(text):
        if match[1]:
            end = text.lower().find(f"</{match[1].lower()}", match.end())
            inside = text[match.end() : end if end >= 0 else len(text)]
            rule = Rule.TAGGED
        elif match[0].startswith("<|"):
            inside, rule = text[match.end() :].partition("<|end_of_box|>")[0], Rule.BOXED
        else:
            inside, rule = _braced(text, match.end()), Rule.BOXED
        if inside.strip():
            words = normalise_words(inside)
            if texts.setdefault((match[1] or rule).lower(), words) != words:
                return None, text
            found[rule] = inside
        if len(inside) > LONGEST_STATEMENT:
            break
    if not found:
        return [], text
    plain = _TAG.sub(" ", re.sub(r"<\|end_of_box\|>|</\w{1,20}>", " ", text))
    kinds = (Rule.TAGGED, Rule.BOXED)
    return [(rule, found[rule]) for rule in kinds if rule in found], plain


def _braced(text: str, start: int) -> str:
    depth = 1
    for place in range(start, min(len(text), start + LONGEST_STATEMENT)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return text[start : start + LONGEST_STATEMENT]


def _under(statement: Statement, rule: Rule) -> Statement:
    return replace(statement, rule=rule, is_alone=True)


def _of_field(each: Field, rule: Rule) -> Statement:
    key = normalise_key(each.name)
    value = normalise_words(unified(each.value))[:LONGEST_STATEMENT]
    headings = tuple(normalise_key(name) for name in each.path)
    source = f"{each.name}: {each.value}" if each.name else each.value
    return Statement(f"{key}: {value}" if key else value, source, rule, key, value, headings, (), True)


def _lines(text: str) -> Iterator[Statement]:
    """Statements of a text's lines; tables by row, other lines by sentence, each under its heading."""
    rows: list[str] = []
    headings: tuple[str, ...] = ()
    heading_waits = False
    for line in [*_joined(text.split("\n")), ""]:
        if _TABLE_ROW.match(line) or (rows and _RULER.match(line) and "|" in line):
            rows.append(line)
            continue
        if rows:
            yield from _table(rows, headings)
            rows = []
        stripped = line.strip()
        if not stripped:
            if not heading_waits:
                headings = ()
            continue
        is_item = bool(_LIST_MARK.match(line)) and not stripped.startswith("#")
        words = _STEP.sub("", _LIST_MARK.sub("", line)).strip()
        heading = _heading(stripped, words)
        if heading is not None:
            if len(heading.split()) >= _LONGEST_HEADING or (re.search(r"\d", heading) and not stripped.startswith("#")):
                yield from _sentences(words.rstrip(": "), ())
            headings, heading_waits = ((heading,) if not is_item or not headings else (*headings[:1], heading)), True
            continue
        if not is_item and not heading_waits:
            headings = ()
        heading_waits = False
        yield from _sentences(words, headings)


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Lines, with those put together that were wrapped inside a sentence."""
    held = ""
    for line in lines:
        begins = line.strip()[:1]
        wrapped = held.strip()[-1:] not in ("", ".", "!", "?", ":", ";", "。", "|") and len(held) > 60
        if wrapped and begins.islower() and not _LIST_MARK.match(line) and "|" not in line:
            held = f"{held.rstrip()} {line.strip()}"
            continue
        if held:
            yield held
        elif held == "":
            yield ""
        held = line
    yield held


def _heading(line: str, words: str) -> str | None:
    """The normalised words of a heading; None for a line that is none."""
    plain = normalise_words(words)
    if not plain or len(plain.split()) > 12 or len(plain) > 90:
        return None
    if line.startswith("#") and not _KEY.match(plain.rstrip(": ")):
        return plain.rstrip(": ")
    return plain.rstrip(": -") if plain.endswith(":") else None


def _table(rows: list[str], headings: tuple[str, ...]) -> Iterator[Statement]:
    """Statements of a table's rows: the first cell is the key, the rest its value; a table of two rows is turned."""
    table = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows if not _RULER.match(row)]
    if len(table) == 2 and len(table[0]) == len(table[1]) > 2 and all(len(cell) < 8 for cell in table[1]):
        table = [list(pair) for pair in zip(*table, strict=True)]
    unit = _NUMBERED.match(normalise_words(table[0][0])) if table and len(table) > 2 else None
    for cells in table:
        cells = [cell for cell in cells if cell]
        if len(cells) == 1:
            yield from _sentences(cells[0], headings)
        elif cells:
            named = [normalise_words(unified(cell)) for cell in cells]
            if unit is not None and named[0].isdigit():
                named[0] = f"au{named[0]}"
            decided = next((cell for cell in named[1:] if _DECIDED.fullmatch(cell)), None)
            value = decided if decided is not None and len(named) > 2 else ", ".join(named[1:])
            source = " | ".join(cells)
            yield Statement(f"{named[0]}: {value}", source, Rule.FIELD, named[0], value, headings, (), True)


def _sentences(line: str, headings: tuple[str, ...]) -> Iterator[Statement]:
    """Statements of a line; the first has the line's key, where there is one."""
    parts = list(split_sentences(_ANSWERED_QUESTION.sub(": ", unified(line))))
    topic = ""
    for part in parts:
        bold = tuple(
            normalise_words(next(group for group in match.groups() if group)) for match in _BOLD.finditer(part)
        )
        text = normalise_words(part)[:LONGEST_STATEMENT]
        if not text:
            continue
        found = _KEY.match(text)
        if found and found["key"].strip() and len(found["key"].split()) <= _LONGEST_KEY and found["value"]:
            key, value = found["key"].strip(), found["value"].strip()
        else:
            key, value = "", text
        yield Statement(text, part.strip(), Rule.STATEMENT, key, value, headings, bold, len(parts) == 1, topic)
        topic = topic or key


def split_sentences(text: str) -> Iterator[str]:
    """The sentences of a text; abbreviations and decimal points end none."""
    start = 0
    for match in _END.finditer(text):
        if match[0].startswith("."):
            before = re.search(r"[^\s(]{0,12}$", text[start : match.start()][-12:])
            word = before[0].lower().lstrip("*_") if before else ""
            behind = text[match.end() : match.end() + 1]
            goes_on = (word == "no" and behind.isdigit()) or (len(word) == 1 and word.isalpha() and behind.islower())
            is_number = word.isdigit() and len(word) < 3 and text[start : match.start()].strip() == word
            if goes_on or is_number or word in _ABBREVIATIONS:
                continue
        yield text[start : match.end()]
        start = match.end()
    if text[start:].strip():
        yield text[start:]
