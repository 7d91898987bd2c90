"""What a verb prints: results on standard output, as scripts can read them, and all else on standard error.

In a terminal a table is drawn to its width; in a pipe or a file it is one line a row with tabs between the cells, the
headings first, and no text is wrapped, shortened or decorated.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from facekit.reports import ProgressDisplay

_state = {"quiet": False}

AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Open what records name outside their folder: for sets that you trust.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead, for scripts.")]


def show(text: str, *, bold: bool = False) -> None:
    """Print a line of the result as it is; bold in a terminal."""
    text = name_addresses(text)
    styled = typer.style(text, bold=True) if bold and sys.stdout.isatty() else text
    typer.echo(styled)


def show_table(table: Table) -> None:
    """Print a table: drawn in a terminal, else with tabs."""
    from rich.console import Console

    from facekit.cli.drawing import draw_table, plain_text

    if sys.stdout.isatty():
        draw_table(table, Console(emoji=False))  # or ":a:" in a model's name is a picture
        return
    columns = [[column.header, *column.cells] for column in table.columns]
    if table.title:
        typer.echo(f"# {plain_text(table.title)}")
    for row in zip(*columns, strict=True):
        typer.echo("\t".join(plain_text(cell) for cell in row))


def show_json(value: Any) -> None:
    """Print a value as JSON: dataclasses as objects, paths as text, numbers that are not finite as null."""
    typer.echo(json.dumps(_as_json(value), indent=2, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Print a line for people on standard error: where something is, what to do next; nothing under ``--quiet``."""
    if not _state["quiet"]:
        typer.echo(name_addresses(text), err=True)


def keep_quiet(wanted: bool) -> None:
    """Leave out progress and what is said to people, or show them again."""
    _state["quiet"] = wanted


def progress_display() -> ProgressDisplay:
    """A display of progress on standard error: bars in a terminal, else a line every few seconds."""
    from facekit.reports import ProgressDisplay

    return ProgressDisplay(quiet=_state["quiet"])


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):  # settings are pydantic's
        return _as_json(value.model_dump())
    if isinstance(value, dict):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(each) for each in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return name_addresses(str(value)) if isinstance(value, Path) else value


def name_addresses(text: str) -> str:
    """A text in which copies of files elsewhere have their addresses; without any, nothing of it is imported."""
    remote = sys.modules.get("facekit.remote.addresses")
    return text if remote is None else str(remote.name_addresses(text))
