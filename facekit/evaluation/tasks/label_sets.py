"""``LabelSet``: the labels that an answer may be mapped to, their wording in a prompt, and the strict reader."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facekit.data.labels import ALL_EXPRESSIONS, EXPRESSIONS
from facekit.evaluation.tasks.definitions import Task

NONE = "none"
"""The reply that says that an answer commits itself to no label."""
EMPTY = "empty"
"""The reply that says of a list of labels that the answer denies all of them."""
OLDEST = 120
_YEARS = re.compile(r"\d{1,3}")


@dataclass(frozen=True)
class LabelSet:
    """The labels of a task.

    Args:
        values: Word to label; empty where the label is a number of years.
        is_list: Whether any number of the words may hold at once.
    """

    values: Mapping[str, Any]
    is_list: bool = False

    @classmethod
    def of(cls, task: Task, truths: Sequence[Any], item: str = "") -> LabelSet | None:
        """The labels of a task for a data set with these truths; None where its answers are no such labels.

        Args:
            task: The task.
            truths: The truths that the data set has.
            item: The label that is asked for, for tasks that ask one by one.
        """
        known = [truth for truth in truths if truth is not None]
        if item:
            return cls({"yes": True, "no": False})
        if not known:
            return None
        first = known[0]
        if isinstance(first, Mapping):
            return cls({name: name for truth in known for name in truth}, is_list=True)
        if isinstance(first, bool):
            words = task.closed_options or task.options or ("no", "yes")
            plain = task.options or words
            return cls({word: name == (task.positive or "yes") for word, name in zip(words, plain, strict=True)})
        if isinstance(first, str):
            named = set(known)
            known_names = [name for name in ALL_EXPRESSIONS if name in EXPRESSIONS or name in named]
            expressions: tuple[str, ...] = tuple(known_names)
            options = task.options or tuple(sorted(named))
            words = expressions if named <= set(ALL_EXPRESSIONS) else options
            return cls({word: word for word in words})
        return cls({}) if isinstance(first, (int, float)) else None

    @property
    def instruction(self) -> str:
        """How a label is to be written."""
        words = ", ".join(self.values)
        if self.is_list:
            return (
                f"The allowed labels: {words}. Reply with those that the answer says hold, word for word and separated "
                f"by commas; with {EMPTY} where it says that none of them holds; or with {NONE}"
            )
        if not self.values:
            return f"Reply with one whole number of years from 0 to {OLDEST} (the middle of a range), or with {NONE}"
        return f"The allowed labels: {words}. Reply with one of them, word for word, or with {NONE}"

    def read(self, reply: str) -> Any | None:
        """The label of a reply that is nothing but one; None for every other reply.

        Args:
            reply: What the extracting model wrote.

        Returns:
            The label; of a list a frozen set; of a number of years a float.
        """
        text = reply.strip().strip("\"'`*").rstrip(".").strip().casefold()
        if text == NONE.casefold():
            return None
        words = {word.casefold(): value for word, value in self.values.items()}
        if self.is_list:
            if text == EMPTY:
                return frozenset()
            parts = [part.strip() for part in text.split(",")]
            return frozenset(words[part] for part in parts) if all(part in words for part in parts) else None
        if not self.values:
            return float(text) if _YEARS.fullmatch(text) and int(text) <= OLDEST else None
        return words.get(text)
