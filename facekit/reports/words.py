"""Formatting of numbers and names for pages and tables."""

from __future__ import annotations

_SMALLEST_P = 0.001


def in_words(name: str) -> str:
    """A name with underscores as people write it: ``No_Beard`` is "no beard".

    Words in capitals or with digits keep them: ``AU12_left`` is "AU12 left".
    """
    words = name.replace("_", " ").split()
    return " ".join(word if word.isupper() or any(map(str.isdigit, word)) else word.lower() for word in words)


def format_p_value(value: float | None) -> str:
    """Three digits after the point, "< 0.001" below that, and "–" where there is none."""
    if value is None:
        return "–"
    return f"< {_SMALLEST_P}" if value < _SMALLEST_P else f"{value:.3f}"


def format_count(value: int) -> str:
    """A whole number with commas between thousands."""
    return f"{value:,}"


def format_duration(seconds: float) -> str:
    """Seconds, minutes or hours, with the two largest units: "42 s", "3 min 5 s", "2 h 10 min", "3 d 4 h"."""
    whole = max(0, round(seconds))
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    first = next((index for index, (size, _) in enumerate(units) if whole >= size), len(units) - 1)
    parts: list[str] = []
    for size, name in units[first : first + 2]:
        amount, whole = divmod(whole, size)
        if amount or not parts:
            parts.append(f"{amount} {name}")
    return " ".join(parts)
