"""``facekit list``: the catalog as a table; it imports no part, so it answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from facekit.catalog import current_registry
from facekit.registry import KINDS, Part

_COLUMNS = ("kind", "name", "summary", "licence", "install")
_DATASET_COLUMNS = ("name", "summary", "task", "size", "licence", "obtain")
_PRESET_COLUMNS = ("name", "encoder", "connector", "backbone", "parameters", "tokens", "licence")
_HEADINGS = {"obtain": "how to obtain", "tokens": "tokens an image"}


def list_parts(
    kind: Annotated[str | None, typer.Argument(help=f"One kind only: {', '.join(KINDS)} (plural works too).")] = None,
) -> None:
    """List what can be mixed: encoders, connectors, backbones, landmarkers, presets, datasets, annotators, tasks.

    Datasets, listed alone, come with their tasks, sizes, licences and how to obtain them; presets with their parts,
    parameters and the tokens that an image costs.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    registry = current_registry()
    kinds = KINDS if kind is None else (kind if kind in KINDS else kind.removesuffix("s"),)
    own = {"dataset": _DATASET_COLUMNS, "preset": _PRESET_COLUMNS}
    columns: tuple[str, ...] = own.get(kinds[0], _COLUMNS) if len(kinds) == 1 else _COLUMNS
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(_HEADINGS.get(column, column), overflow="fold", no_wrap=column == "name")
    for each in kinds:
        for name in registry.names(each):
            values = _values(registry.part(each, name))
            cells = [escape(values.get(column, "")) for column in columns]
            table.add_row(
                *(
                    f"[bold]{cell}[/bold]" if column == "name" else cell
                    for column, cell in zip(columns, cells, strict=True)
                )
            )
        table.add_section()
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _values(part: Part) -> dict[str, str]:
    missing = "" if part.is_installed else part.install_command or ""
    own = {"kind": part.kind, "name": part.name, "summary": part.summary, "licence": part.licence, "install": missing}
    return {**part.details, **own}
