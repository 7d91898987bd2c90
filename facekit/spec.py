"""Spec strings such as ``openclip:ViT-L-14?pretrained=openai``, and the one reader of their options.

A spec names a part or a model, its argument and its options: in Python, in recipes and on the command line. Options
arrive as text and are read by the types that their target declares:

============================  ======================================================================
``bool``                      true, false, yes, no, on, off, 1, 0, in upper or lower case
``int``, ``float``            a finite number; ``Annotated[int, Range(1, 5)]`` has bounds
``str``, ``Path``             any text but an empty one
``Literal["a", "b"]``         one of the words
``list[int]`` and the like    values with commas between them
``int | Literal["auto"]``     the first type of the union that fits; ``None`` is the option left out
============================  ======================================================================
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl, quote, urlencode

from facekit.errors import ConfigurationError, InvalidSpecError

__all__ = [
    "PartSpec",
    "PositiveInt",
    "Range",
    "call_with_options",
    "closest_match_hint",
    "option_types",
    "options_for",
    "read_options",
    "read_value",
]

T = TypeVar("T")

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def closest_match_hint(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or a list of what is known where nothing is close."""
    names = sorted(known)
    match = closest_match(word, names)
    if match is not None:
        return f"; did you mean '{match}'?"
    return f"; known: {', '.join(names)}" if names else "; none is registered"


def closest_match(word: str, known: Iterable[str]) -> str | None:
    """Return the name that is nearest to a word, or None where nothing is close."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), [name.lower() for name in names], n=1, cutoff=0.6)
    return next((name for name in names if close and name.lower() == close[0]), None)


@dataclass(frozen=True)
class PartSpec:
    """A parsed spec string ``name[:argument][?option=value&…]``.

    Args:
        name: The part's registered name.
        argument: What stands between the first ``:`` and ``?``: a model name, a hub id or a path.
        options: The options as text; ``call_with_options`` and ``read_options`` convert them.

    Examples:
        >>> from facekit.spec import PartSpec
        >>> PartSpec.parse("openclip:ViT-L-14?pretrained=openai&layer=-2").options["layer"]
        '-2'
    """

    name: str
    argument: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> PartSpec:
        """Parse a spec string.

        Raises:
            InvalidSpecError: The string is empty, has no name, or an option has no value.
        """
        if not isinstance(text, str) or not text.strip():
            raise InvalidSpecError(f"a spec is text such as 'name:argument?option=value', not {text!r}")
        head, has_options, query = text.strip().partition("?")
        name, has_argument, argument = head.partition(":")
        if not name or (has_argument and not argument.strip()):
            raise InvalidSpecError(f"the spec {text!r} has no {'argument after' if name else 'name before'} ':'")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if has_options else []
        except ValueError as error:
            raise InvalidSpecError(f"the options of the spec {text!r} are not 'name=value&name=value'") from error
        options = dict(pairs)
        if len(options) != len(pairs):
            raise InvalidSpecError(f"the spec {text!r} gives an option twice")
        return cls(name, argument or None, options)

    def __str__(self) -> str:
        text = self.name if self.argument is None else f"{self.name}:{self.argument}"
        return f"{text}?{urlencode(self.options, quote_via=quote, safe='/:,')}" if self.options else text


@dataclass(frozen=True)
class Range:
    """Bounds of a numeric option, for ``Annotated[int, Range(1, 5)]``.

    Args:
        low: The least value.
        high: The greatest value.
        above: A value that is itself too small.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )

    def __str__(self) -> str:
        bounds = (("from", self.low), ("above", self.above), ("to", self.high))
        return " ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


PositiveInt = Annotated[int, Range(1)]
"""An integer option of at least 1."""


def read_value(value: Any, kind: Any) -> Any:
    """Convert the text of an option, or check a value that has a type already.

    Args:
        value: Text from a spec, or a Python value.
        kind: A type as the module's table has it; any other passes the value on as it is.

    Raises:
        ValueError: The value is not of that kind; the message says what is, beginning with ``it takes``.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        try:
            read = read_value(value, arguments[0])
        except ValueError as error:
            raise ValueError(f"it takes {_describe(kind)}") from error
        if any(isinstance(bounds, Range) and read not in bounds for bounds in arguments[1:]):
            raise ValueError(f"it takes {_describe(kind)}")
        return read
    if origin in (Union, types.UnionType):
        return _read_union(value, kind, arguments)
    if origin is Literal:
        chosen = [choice for choice in arguments if value == choice or value == str(choice)]
        if not chosen:
            raise ValueError(f"it takes {_describe(kind)}")
        return chosen[0]
    if kind in (list, tuple) or origin in (list, tuple, Sequence):
        return _read_sequence(value, kind)
    readers: dict[Any, Callable[[Any], Any]] = {
        bool: _read_boolean, int: _read_integer, float: _read_number, str: _read_text, Path: _read_path,
    }  # fmt: skip
    return readers[kind](value) if isinstance(kind, type) and kind in readers else value


def read_options(part: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the options of a spec.

    Args:
        part: What they belong to, for messages, such as ``encoder 'tiny'``.
        given: The options, as text or as values.
        known: The type of each option that there is; see the module's table.

    Returns:
        The converted options, those that were given only.

    Raises:
        InvalidSpecError: An option is unknown (the message has the closest one) or cannot be read.
    """
    values = {}
    for name, value in given.items():
        if name not in known:
            hint = closest_match_hint(name, known) if known else "; it has none"
            hint += f" (known: {', '.join(sorted(known))})" if "did you mean" in hint else ""
            raise InvalidSpecError(f"{part} has no option '{name}'{hint}")
        try:
            values[name] = read_value(value, known[name])
        except ValueError as error:
            raise InvalidSpecError(f"{part} cannot use {name}={value}: {error}") from error
    return values


def option_types(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the options that a function or class takes, which are its keyword-only arguments, with their types.

    Where an argument has no annotation, the type of its default counts.

    Raises:
        ConfigurationError: An annotation names something that cannot be found at run time.
    """
    function: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        name = getattr(target, "__qualname__", repr(target))
        raise ConfigurationError(
            f"the options of {name} cannot be read ({error}); import what its annotations name at run time"
        ) from error
    parameters = [p for p in inspect.signature(target).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {p.name: hints.get(p.name, type(p.default) if p.default not in (p.empty, None) else Any) for p in parameters}


def call_with_options(
    part: str, target: Callable[..., T], argument: str | None, given: Mapping[str, Any], **context: Any
) -> T:
    """Call ``target(argument, **options, **context)``, the options read by the types in the target's signature.

    A target that takes ``**options`` gets those that its signature does not name as text.

    Args:
        part: What the target is, for messages, such as ``encoder 'tiny'``.
        target: A function or class; its keyword-only arguments are its options.
        argument: The spec's argument, passed on by position.
        given: The spec's options.
        **context: Keyword-only arguments that do not come from the spec, and that a spec cannot set.

    Raises:
        InvalidSpecError: An option is unknown, cannot be read, or is missing.
    """
    return target(argument, **options_for(part, target, given, context), **context)


def options_for(
    part: str, target: Callable[..., Any], given: Mapping[str, Any], context: Mapping[str, Any]
) -> dict[str, Any]:
    """Read options by the types in a target's signature; see ``call_with_options``, which calls it with them.

    Raises:
        InvalidSpecError: An option is unknown, cannot be read, or is missing.
    """
    parameters = inspect.signature(target).parameters.values()
    known = {name: kind for name, kind in option_types(target).items() if name not in context}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        known = {**{name: Any for name in given if name not in context}, **known}
    options = read_options(part, given, known)
    needed = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    missing = sorted(needed - set(options) - set(context))
    if missing:
        raise InvalidSpecError(f"{part} needs the option '{missing[0]}'")
    return options


def _read_union(value: Any, kind: Any, members: Sequence[Any]) -> Any:
    if value is None and types.NoneType in members:
        return None
    for member in members:
        if member is types.NoneType:
            continue
        try:
            return read_value(value, member)
        except ValueError:
            continue
    raise ValueError(f"it takes {_describe(kind)}")


def _read_sequence(value: Any, kind: Any) -> Any:
    container = tuple if kind is tuple or get_origin(kind) is tuple else list
    items = [item.strip() for item in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"it takes {_describe(kind)}")
    try:
        return container(read_value(item, _item_kind(kind)) for item in items)
    except ValueError as error:
        raise ValueError(f"it takes {_describe(kind)}") from error


def _item_kind(kind: Any) -> Any:
    return next(iter(get_args(kind)), str)


def _read_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() not in _BOOLEANS:
        raise ValueError(f"it takes {_describe(bool)}")
    return _BOOLEANS[str(value).strip().lower()]


def _read_integer(value: Any) -> int:
    text = "" if isinstance(value, bool | float) else str(value).strip()
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"it takes {_describe(int)}")
    return int(text)


def _read_number(value: Any) -> float:
    text = "" if isinstance(value, bool) else str(value).strip()
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"it takes {_describe(float)}")
    return float(text)


def _read_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"it takes {_describe(str)}")
    return value


def _read_path(value: Any) -> Path:
    return value if isinstance(value, Path) else Path(_read_text(value)).expanduser()


def _describe(kind: Any) -> str:
    """What an option of a kind takes, in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return " ".join([_describe(arguments[0]), *(str(each) for each in arguments[1:] if isinstance(each, Range))])
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(member) for member in arguments if member is not types.NoneType)
    if origin is Literal:
        *others, last = (str(choice) for choice in arguments)
        return f"{', '.join(others)} or {last}" if others else last
    if kind in (list, tuple) or origin in (list, tuple, Sequence):
        return f"{_describe(_item_kind(kind))}, or several with commas between them"
    words = {bool: "true or false", int: "an integer", float: "a number", str: "a name or a path", Path: "a path"}
    return words.get(kind, f"a {getattr(kind, '__name__', kind)}")
