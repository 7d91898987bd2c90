"""Reading the blind lists of ``tests/answers_blind`` and counting what is read right, wrong, and not at all."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from facekit.answers.readers.ages import read_age
from facekit.answers.readers.attributes import read_attributes
from facekit.answers.readers.expressions import read_expression
from facekit.answers.readers.manipulation import meaning_of_yes, read_manipulation
from facekit.answers.readers.options import read_option
from facekit.answers.readers.units import read_action_units
from facekit.answers.readers.yes_or_no import read_yes_or_no

FOLDER = Path(__file__).parent.parent / "answers_blind"
UNITS = {f"AU{number}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26)}
CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")


@dataclass(frozen=True)
class Result:
    """One answer of a list: what was read, by which rule, and whether it is right."""

    row: dict
    value: object
    rule: str
    is_right: bool

    @property
    def is_confidently_wrong(self) -> bool:
        return not self.is_right and self.value is not None


def read(row):
    answer, task = row["answer"], row["task"]
    if task == "expression":
        return read_expression(answer, CLASSES)
    if task == "action_units":
        return read_action_units(answer)
    if task == "attributes":
        return read_attributes(answer, row.get("asked", ()))
    if task == "age":
        return read_age(answer)
    if task == "manipulation":
        return read_manipulation(answer, yes_means=meaning_of_yes(row["question"]))
    if task == "yes_no":
        return read_yes_or_no(answer, row["question"])
    return read_option(answer, list(row["options"].values()))


def is_right(row, value):
    label, task = row["label"], row["task"]
    if label is None or value is None:
        return label is None and value is None
    if task == "action_units":
        return {code for code in value if code in UNITS} == {f"AU{str(name).removeprefix('AU')}" for name in label}
    if task == "attributes":
        return all((name in value) == holds for name, holds in label.items())
    if task == "age":
        low, high = label if isinstance(label, list) else (label, label)
        return low <= value <= high
    if task == "manipulation":
        return value == (label == "fake")
    if task == "yes_no":
        return value == (label == "yes")
    return value == label


def results(name, folder=FOLDER):
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    found = []
    for row in rows:
        reading = read(row)
        found.append(Result(row, reading.value, str(reading.rule), is_right(row, reading.value)))
    return found


def table(found):
    """Rows of counts: by task, by language, and all together."""
    lines = []
    for key in ("task", "language", None):
        groups = Counter(each.row[key] if key else "all" for each in found)
        for group, count in sorted(groups.items()):
            own = [each for each in found if key is None or each.row[key] == group]
            right = sum(each.is_right for each in own)
            wrong = sum(each.is_confidently_wrong for each in own)
            shares = f"right {right:4} {right / count:6.1%}  confidently wrong {wrong:3} {wrong / count:6.1%}"
            lines.append(f"{group:14} {count:4} {shares}")
    return "\n".join(lines)
