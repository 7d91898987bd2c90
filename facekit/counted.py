"""An amount with its noun, for messages and tables: ``counted``."""

from __future__ import annotations

from numbers import Integral

_HISSING = ("s", "x", "ch", "sh")


def counted(amount: float, noun: str) -> str:
    """An amount with commas between thousands and its noun, in the singular or plural.

    Args:
        amount: How many.
        noun: The noun in the singular; of several words the last is put into the plural.

    Examples:
        >>> from facekit.counted import counted
        >>> counted(1, "shard"), counted(2000, "near copy")
        ('1 shard', '2,000 near copies')
    """
    number = f"{amount:,}" if isinstance(amount, Integral) else f"{amount:g}"
    return f"{number} {noun if amount == 1 else plural(noun)}"


def singular(noun: str) -> str:
    """The singular of a regular plural: ``copies`` is "copy"."""
    if noun.endswith("ies"):
        return f"{noun[:-3]}y"
    is_longer = noun.endswith("es") and noun[:-2].endswith(_HISSING)
    return noun[:-2] if is_longer else noun.removesuffix("s")


def plural(noun: str) -> str:
    """The regular plural of a noun."""
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(_HISSING) else f"{noun}s"
