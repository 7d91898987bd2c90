"""``Reading``: what was read out of an answer, by which rule, and the words that it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, TypeVar

Value = TypeVar("Value")
LONGEST_SPAN = 300
"""Characters of the words that a reading keeps."""


class Rule(StrEnum):
    """Where in an answer a reading was made, or why there is none.

    From the strongest: a boxed or tagged answer; a marked one ("Answer: …", "Expression: …", a JSON field); a table of
    scores; a conclusion; an opening that is nothing but the answer; a statement; a mere mention of a label; a sign of
    it ("a smile"). Lists of several labels are read as a whole. ``EXTRACTED`` is no rule: a language model read it.
    """

    BOXED = "boxed"
    TAGGED = "tagged"
    FINAL = "final answer"
    FIELD = "field"
    SCORES = "scores"
    CONCLUSION = "conclusion"
    OPENING = "opening"
    STATEMENT = "statement"
    MENTION = "mention"
    SIGN = "sign"
    YES_OR_NO = "yes or no"
    LIST = "list"
    MODEL = "model"
    EXTRACTED = "extracted"
    OWN = "the task's own parser"

    EMPTY = "empty"
    CUT_OFF = "cut off in its thoughts"
    UNDECIDED = "says that it cannot tell"
    CONTRADICTORY = "contradictory"
    NOTHING = "names no label"


@dataclass(frozen=True)
class Reading(Generic[Value]):
    """What was read out of an answer.

    Args:
        value: The label; None where the answer commits itself to none.
        rule: The rule that made the reading, or why there is none.
        span: The answer's words that it was read from, up to ``LONGEST_SPAN`` characters; empty where there are none.
    """

    value: Value | None
    rule: Rule
    span: str = ""

    @property
    def is_readable(self) -> bool:
        """Whether the answer commits itself to a label."""
        return self.value is not None

    def shortened(self) -> Reading[Value]:
        """The same with a span of at most ``LONGEST_SPAN`` characters."""
        if len(self.span) <= LONGEST_SPAN:
            return self
        return replace(self, span=self.span[: LONGEST_SPAN - 1].rstrip() + "…")
