"""Reading the options of an encoder's spec: every encoder refuses unknown and unreadable ones in the same words.

It is apart from the encoders because all of them share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from facekit.errors import InvalidSpecError
from facekit.registry import closest_match_hint


def read_options(encoder: str, given: Mapping[str, str], known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Convert the options of a spec.

    Args:
        encoder: The encoder's registered name, for messages.
        given: The options as text.
        known: For each option that the encoder has, the function that reads its text and raises ValueError where it
            cannot.

    Returns:
        The converted options, those that were given only.

    Raises:
        InvalidSpecError: An option is unknown, or its text cannot be read.
    """
    values = {}
    for name, text in given.items():
        if name not in known:
            hint = closest_match_hint(name, known)
            hint += f" (known: {', '.join(sorted(known))})" if "did you mean" in hint else ""
            raise InvalidSpecError(f"encoder '{encoder}' has no option '{name}'{hint}")
        try:
            values[name] = known[name](text)
        except ValueError as error:
            raise InvalidSpecError(f"encoder '{encoder}' cannot use {name}={text}: {error}") from error
    return values


def positive_integer(text: str) -> int:
    """Read an integer above 0; raises ValueError."""
    value = integer(text)
    if value < 1:
        raise ValueError("it takes an integer above 0")
    return value


def integer(text: str) -> int:
    """Read an integer, such as a layer counted from the end; raises ValueError."""
    try:
        return int(text)
    except ValueError as error:
        raise ValueError("it takes an integer") from error


def non_empty(text: str) -> str:
    """Read a name or a path; raises ValueError where it is empty."""
    if not text.strip():
        raise ValueError("it takes a name or a path")
    return text


def boolean(text: str) -> bool:
    """Read ``true`` or ``false``; raises ValueError."""
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise ValueError("it takes true or false")
    return words[text.lower()]


def resolve_layer(encoder: str, layer: int, count: int) -> int:
    """Return the index, counted from 0, of the block whose output a ``layer`` option selects.

    Args:
        encoder: The encoder and model, for messages.
        layer: 1 is the output of the first block and ``count`` that of the last; -1 is the last, -2 the one before.
        count: The number of blocks.

    Raises:
        InvalidSpecError: The model has no such layer.
    """
    if layer == 0 or not -count <= layer <= count:
        raise InvalidSpecError(
            f"encoder '{encoder}' has layers 1 to {count}, or -{count} to -1 counted from the end, but no layer {layer}"
        )
    return layer - 1 if layer > 0 else count + layer
