"""JSON in an answer as fields: a name and words for its value, under the names of what it stands in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facekit.endpoints.texts import find_json

MOST_FIELDS = 400
_DEEPEST = 6
_NAMES = ("name", "label", "au", "unit", "action unit", "code", "attribute", "class", "emotion", "expression",
          "feature", "category", "id", "key", "type")  # fmt: skip
_UNITS = ("au", "action unit", "unit", "code")
_VALUES = ("present", "active", "activated", "detected", "value", "status", "visible", "is present", "is active",
           "score", "probability", "prob", "likelihood", "confidence", "intensity", "percentage", "percent", "state",
           "answer", "prediction", "presence")  # fmt: skip
_MESSAGE = {"role", "content"}
"""The keys of a chat message, which is addressed to somebody and answers nothing."""
_FENCE = re.compile(r"```[\w+.-]*[ \t]*\n?|```|~~~[\w+.-]*[ \t]*\n?")
_BROKEN_PAIR = re.compile(
    r"""["']([\w .-]{1,60})["']\s{0,9}:\s{0,9}("[^"\n]{0,400}"?|'[^'\n]{0,400}'?|[\[][^\]\n]{0,400}|-?\d[\d.]{0,12}%?"""
    r"""|(?:[Tt]rue|[Ff]alse|null|None)(?!\s?[/|]))"""
)


@dataclass(frozen=True)
class Field:
    """One field of a JSON answer.

    Args:
        name: Its key; empty for what stands in a list.
        value: Its value in words: yes and no for booleans, a list joined by commas, "unknown" for null.
        path: The keys above it.
    """

    name: str
    value: str
    path: tuple[str, ...] = ()


def split_json(text: str) -> tuple[list[Field], str]:
    """Take the JSON out of a text.

    Args:
        text: The text; of several objects the last one counts. JSON that breaks off is read as far as it goes.

    Returns:
        Its fields, and the text around it; no fields and all of the text where it has no JSON.
    """
    if "{" not in text and "[" not in text:
        return [], text
    values = find_json(text)
    if values is not None:
        fields = [*_overwritten(text), *_flatten(values, (), 0)][:MOST_FIELDS]
        return fields, _around(text)
    if "{" in text:
        pairs = [Field(match[1], _plain(match[2])) for match in _BROKEN_PAIR.finditer(text)][:MOST_FIELDS]
        if pairs:
            return pairs, text[: text.index("{")]
    return [], text


def _overwritten(text: str) -> list[Field]:
    """The first values of keys that an object has twice with different values; a decoder keeps only the last."""
    lost: list[Field] = []

    def put_together(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        lost.extend(
            Field(name, _words(value))
            for name, value in pairs
            if not isinstance(value, (dict, list)) and values[name] != value
        )
        return values

    start = text.find("{")
    if start >= 0:
        try:
            json.JSONDecoder(strict=False, object_pairs_hook=put_together).raw_decode(text, start)
        except (ValueError, RecursionError):
            return []
    return lost


def _around(text: str) -> str:
    text = _FENCE.sub("\n", text)
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    end = max(text.rfind("}"), text.rfind("]"))
    return f"{text[: min(starts)]}\n{text[end + 1 :]}" if starts and end > 0 else text


def _plain(value: str) -> str:
    return _words(value.strip("\"'[ ").replace('"', "").replace("'", ""))


def _words(value: Any) -> str:
    if value is None or value in ("null", "None"):
        return "unknown"
    if isinstance(value, bool) or value in ("true", "True", "false", "False"):
        return "yes" if str(value).lower() == "true" else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flatten(values: Any, path: tuple[str, ...], depth: int) -> Iterator[Field]:
    if depth > _DEEPEST:
        return
    if isinstance(values, Mapping):
        yield from _flatten_mapping(values, path, depth)
    elif isinstance(values, Sequence) and not isinstance(values, str):
        plain = [each for each in values if not isinstance(each, (Mapping, list))]
        if plain or not values:
            yield Field(path[-1] if path else "", ", ".join(map(_words, plain)) or "none", path[:-1])
        for each in values:
            if isinstance(each, (Mapping, list)):
                yield from _flatten(each, path, depth + 1)
    else:
        yield Field(path[-1] if path else "", _words(values), path[:-1])


def _flatten_mapping(values: Mapping[Any, Any], path: tuple[str, ...], depth: int) -> Iterator[Field]:
    """The fields of an object; one such as ``{"name": "AU6", "present": true}`` is the field that it describes."""
    if {str(key).lower() for key in values} >= _MESSAGE:
        return
    lowered = {str(key).strip().lower().replace("_", " "): value for key, value in values.items()}
    name = next((key for key in _NAMES if isinstance(lowered.get(key), str)), None)
    value = next((key for key in _VALUES if isinstance(lowered.get(key), (bool, int, float, str))), None)
    unit = next((key for key in _UNITS if type(lowered.get(key)) is int), None)
    if unit is not None and value is not None and depth > 0:
        yield Field(f"AU{lowered[unit]}", _words(lowered[value]), path)
        return
    if name is not None and value is not None and depth > 0:
        yield Field(lowered[name], _words(lowered[value]), path)
        return
    for key, each in values.items():
        yield from _flatten(each, (*path, str(key)), depth + 1)
