"""``--max-failures``: how many records may fail before a verb's exit status says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

MaxFailures = Annotated[str, typer.Option(help="Records that may fail, as 20 or 1%; with more the exit status is 1.")]


def read_limit(text: str) -> Callable[[int], float]:
    """The most that may fail of so many, from ``20`` or ``1%``."""
    from facekit.errors import ConfigurationError

    number = text.strip()
    try:
        share = float(number.removesuffix("%")) / 100 if number.endswith("%") else None
        most = int(number) if share is None else 0
    except ValueError as error:
        raise ConfigurationError(f"--max-failures is a number, or a share such as 1%, not {text!r}") from error
    if most < 0 or (share is not None and not 0 <= share <= 1):
        raise ConfigurationError(f"--max-failures is from 0, or from 0% to 100%, not {text!r}")
    return lambda total: most if share is None else share * total
