"""Columns of users' tables by name: which hold media, labels, groups and the rest, whatever file the table is in."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from facekit.data.labels import ALL_EXPRESSIONS, CELEBA_ATTRIBUTES, Expression, age_group_of
from facekit.data.sources.tables import Row
from facekit.errors import RecordError

__all__ = [
    "EXPRESSION_WORDS",
    "GENDERS",
    "GROUP_COLUMNS",
    "MEDIA_COLUMNS",
    "TERM_COLUMNS",
    "canonical_column",
    "describe_lacking_split",
    "list_other_columns",
    "split_in_name",
    "split_name",
    "take_groups",
    "take_labels",
    "take_truth",
]

EXPRESSION_WORDS: dict[str, Expression] = {name: name for name in ALL_EXPRESSIONS} | {
    "happy": "happiness", "joy": "happiness", "sad": "sadness", "surprised": "surprise", "fearful": "fear",
    "afraid": "fear", "disgusted": "disgust", "angry": "anger", "normal": "neutral", "contemptuous": "contempt",
    "anxious": "anxiety", "helpless": "helplessness", "disappointed": "disappointment",
}  # fmt: skip
"""How folders and tables of users name expressions, in lower case."""

GENDERS = {"male": "man", "female": "woman"}
"""The group names of gender as the datasets annotate it, which is by appearance and binary."""
MEDIA_COLUMNS = ("image", "video", "file", "path")
TERM_COLUMNS = ("license", "consent")
GROUP_COLUMNS = ("age_group", "gender", "race", "ethnicity", "skin_tone")

_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "-1": False}
_AGE_BAND = re.compile(r"\d{1,3}\s*[-–]\s*\d{1,3}|more than \d{1,3}|\d{1,3}\+", re.IGNORECASE)
_UNIT = re.compile(r"AU0*([1-9]\d?)")
_KNOWN = (*MEDIA_COLUMNS, *GROUP_COLUMNS, *CELEBA_ATTRIBUTES, "id", "split", "expression", "age", "manipulated", "same")
_COLUMNS = {name.casefold(): name for name in _KNOWN} | {
    "filename": "file", "file_name": "file", "filepath": "path", "file_path": "path", "image_path": "image",
    "img_path": "image", "video_path": "video", "licence": "license", "license": "license", "consent": "consent",
}  # fmt: skip
_SPLITS = {name: name for name in ("train", "validation", "test")} | {
    "training": "train", "val": "validation", "valid": "validation", "dev": "validation", "testing": "test",
}  # fmt: skip
_NAMED_SPLIT = re.compile(rf"({'|'.join(sorted(_SPLITS, key=len, reverse=True))})(?![A-Za-z0-9])")


def canonical_column(name: str) -> str:
    """What a column of a user's table is called here: the name that is known in another case, or as it is."""
    bare = name.strip()
    return _COLUMNS.get(bare.casefold(), bare.upper() if _UNIT.fullmatch(bare.upper()) else bare)


def split_name(name: str | None) -> str | None:
    """What a split is called here, in any case; a name that is not known stays, and None where there is none."""
    return _SPLITS.get(name.casefold(), name) if name else None


def split_in_name(name: str) -> str | None:
    """The split that a file or folder is named after, as in ``test-00000-of-00002``; None where it is none."""
    found = _NAMED_SPLIT.match(name.lower())
    return split_name(found[1]) if found else None


def describe_lacking_split(place: str | Path, split: str, found: Collection[str]) -> str:
    """The sentence about a split that nothing of a user's is of, with those that there are."""
    held = f"there is {', '.join(sorted(found))}" if found else "nothing there names a split"
    return f"nothing in {place} is of the split {split!r}; {held}"


def list_other_columns(names: Sequence[str]) -> list[str]:
    """Columns of a table of which nothing is read here, as they are written."""
    known = {*_COLUMNS.values(), ""}
    return [name for name in names if canonical_column(name) not in known and not _UNIT.fullmatch(name.strip().upper())]


def take_truth(values: dict[str, str], name: str) -> bool | None:
    """Take a column that is true or false out of a row's values; None, and left there, where it is something else."""
    truth = _TRUTH.get(values.get(name, "").lower())
    if truth is not None:
        del values[name]
    return truth


def take_labels(row: Row, values: dict[str, str]) -> dict[str, Any]:
    """Take the label columns of a row out of its values.

    An age that is a band of years, as FairFace's, is no label: it becomes ``age_group`` among the values.

    Args:
        row: The row.
        values: Its cells by canonical name; those of labels are removed.

    Returns:
        The fields of ``FaceLabels``.

    Raises:
        RecordError: A cell is none of what its column may hold.
    """
    labels: dict[str, Any] = {}
    if values.pop("expression", None) is not None:
        labels["expression"] = _lower(row).choose("expression", EXPRESSION_WORDS)
    if values.pop("manipulated", None) is not None:
        labels["manipulated"] = _lower(row).choose("manipulated", _TRUTH)
    if _AGE_BAND.fullmatch(values.get("age", "")):
        values.setdefault("age_group", values.pop("age"))
    if values.get("age") is not None:
        labels["age"] = _number(row, "age", values.pop("age"), 130.0)
    units = {name: match for name in values if (match := _UNIT.fullmatch(name))}
    if units:
        found = {f"AU{match[1]}": _number(row, name, values.pop(name), 5.0) for name, match in units.items()}
        labels["action_units"] = found
    attributes = [name for name in CELEBA_ATTRIBUTES if name in values]
    if attributes:
        labels["attributes"] = {name: _lower(row).choose(name, _TRUTH) for name in attributes}
        for name in attributes:
            del values[name]
    return labels


def take_groups(values: dict[str, str], age: float | None = None) -> dict[str, str]:
    """Take the group columns out of a row's values.

    Args:
        values: Its cells by canonical name, after ``take_labels``.
        age: In years; where no column says the age group, it is that of this age.

    Returns:
        Group attributes; of ``gender``, male and female in any case are ``man`` and ``woman``, as in the datasets.
    """
    groups = {name: values.pop(name) for name in GROUP_COLUMNS if name in values}
    if "gender" in groups:
        groups["gender"] = GENDERS.get(groups["gender"].casefold(), groups["gender"])
    if age is not None:
        groups.setdefault("age_group", age_group_of(age))
    return groups


def _lower(row: Row) -> Row:
    lowered: Mapping[str, str] = {name: value.lower() for name, value in row.values.items()}
    return Row(row.path, row.number, lowered)


def _number(row: Row, name: str, text: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value <= most:
        raise RecordError(f"{row.where}: '{name}' must be a number from 0 to {most:g}, not {text!r}")
    return value
