"""What a statement does beside claiming: suppose, define, give an example, ask, take back, speak to a grader.

Such statements are taken out before the readers look for labels; the words that tell them are in the vocabularies,
under ``discourse``.
"""

from __future__ import annotations

import re
from dataclasses import replace

from facekit.answers.languages.vocabulary import Vocabulary
from facekit.answers.reading import Rule
from facekit.answers.text.statements import Answer, Statement

_LEGEND = re.compile(r"^\(?\s*-?\d{1,3}\s?(?:=|:|means?)\s?[^\d\n]{2,60}[,;/-]\s?(?:and\s)?\d{1,3}\s?(?:=|:|means?)")
_PLACEHOLDER = re.compile(r"<[^<>\n]{0,24}(?:\||/| or | oder | ou | o )[^<>\n]{0,24}>")


def said_here(answer: Answer, vocabulary: Vocabulary, *, pictures: int = 1) -> Answer:
    """An answer without the statements that claim nothing of the face in question.

    A first thought that the next statement turns away from ("At first I thought of fear. But …") is joined to that
    turn, so that it is read as dismissed.

    Args:
        answer: The answer.
        vocabulary: The language.
        pictures: How many the question is about; of one, what is said of other pictures is elsewhere.
    """
    kept: list[Statement] = []
    for statement in answer.statements:
        if is_elsewhere(statement, vocabulary, pictures=pictures):
            rest = _after_condition(statement, vocabulary)
            if rest is not None:
                kept.append(rest)
            continue
        if vocabulary.words("discourse", "retracts").search(statement.text):
            kept = [each for each in kept if each.rule is not Rule.STATEMENT]
        if kept and _turns_away(kept[-1], statement, vocabulary):
            kept[-1] = replace(kept[-1], text=f"{kept[-1].text.rstrip(' .!')}, {_turn(statement.text, vocabulary)}")
        kept.append(statement)
    return replace(answer, statements=tuple(kept))


def is_elsewhere(statement: Statement, vocabulary: Vocabulary, *, pictures: int = 1) -> bool:
    """Whether a statement is no claim of the face in question: an example, a definition, a condition, a question."""
    text = statement.text
    if _PLACEHOLDER.search(text) or _LEGEND.search(text):
        return True
    both = vocabulary.pattern("yes and no", _yes_and_no)
    if both.search(text if statement.rule is Rule.STATEMENT else statement.value):
        return True
    if statement.rule is not Rule.STATEMENT:
        return False
    if text.rstrip(" )").endswith(("?", "？")):
        return True
    if pictures == 1 and vocabulary.words("discourse", "other_pictures").search(text):
        return True
    words = vocabulary.words("discourse", "elsewhere")
    if words.search(text) or vocabulary.words("discourse", "addressed").search(text):
        return True
    if vocabulary.raw("discourse", "definition").match(text):
        return True
    condition = vocabulary.raw("discourse", "condition").match(text)
    return condition is not None and vocabulary.words("discourse", "consequence").search(text) is not None


def _after_condition(statement: Statement, vocabulary: Vocabulary) -> Statement | None:
    """What a statement goes on to claim behind a condition: "If …, I'd …, but the cheeks are still, so AU12 only"."""
    if vocabulary.raw("discourse", "condition").match(statement.text) is None:
        return None
    turn = vocabulary.words("turns").search(statement.text)
    if turn is None:
        return None
    text = statement.text[turn.end() :].strip(" ,")
    return replace(statement, text=text, value=text, key="") if text else None


def _yes_and_no(vocabulary: Vocabulary) -> str:
    """Both of yes and no where one of them should stand: "yes/no", "true or false"."""
    pairs = [("yes", "no"), ("true", "false"), ("ja", "nein"), ("s[ií]", "no"), ("oui", "non"), ("sim", "n[aã]o"),
             ("是", "否"), ("是", "不是"), ("有", "没有"), ("有", "无"), ("はい", "いいえ"), ("あり", "なし"),
             ("0", "1"), ("present", "absent"), ("active", "inactive"), ("real", "fake")]  # fmt: skip
    joint = "|".join(["/", r"\|", *(word for kind in ("and", "or") for word in vocabulary.entries("joints", kind))])
    either = "|".join(f"{yes}\\s?(?:{joint})\\s?{no}|{no}\\s?(?:{joint})\\s?{yes}" for yes, no in pairs)
    return rf"(?:^|[:=(\[,;]|^.{{0,40}}[:=])\s*(?:{either})\s*(?:$|[.,;)\]}}])"


def takes_back(statement: Statement, vocabulary: Vocabulary) -> bool:
    """Whether a statement leaves open what those before it weighed: "I can't decide between the two"."""
    return statement.rule is Rule.STATEMENT and bool(vocabulary.words("discourse", "open").search(statement.text))


def _turns_away(thought: Statement, statement: Statement, vocabulary: Vocabulary) -> bool:
    return bool(
        vocabulary.words("discourse", "first_thoughts").search(thought.text)
        and vocabulary.words("turns").match(statement.text)
        and not vocabulary.words("turns").search(thought.text)
    )


def _turn(text: str, vocabulary: Vocabulary) -> str:
    match = vocabulary.words("turns").match(text)
    return match[0] if match else ""
