"""``facekit list``: the catalog as a table; it imports no part, so it answers at once."""

from __future__ import annotations

from typing import Annotated

import typer

from facekit.catalog import current_registry
from facekit.cli.output import AsJson, show_json, show_table
from facekit.registry import KINDS, Part

_COLUMNS = ("kind", "name", "summary", "licence", "install")
_DATASET_COLUMNS = ("name", "summary", "task", "size", "licence", "obtain")
_PRESET_COLUMNS = ("name", "encoder", "connector", "backbone", "parameters", "tokens", "licence")
_HEADINGS = {"obtain": "how to obtain", "tokens": "tokens an image"}


def list_parts(
    kind: Annotated[str | None, typer.Argument(help=f"One kind only: {', '.join(KINDS)} (plural works too).")] = None,
    as_json: AsJson = False,
) -> None:
    """List what can be mixed: encoders, connectors, backbones, landmarkers, presets, datasets, annotators, tasks.

    Datasets, listed alone, come with their tasks, sizes, licences and how to obtain them; presets with their parts,
    parameters and the tokens that an image costs.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    registry = current_registry()
    kinds = KINDS if kind is None else (kind if kind in KINDS else kind.removesuffix("s"),)
    found = [registry.part(each, name) for each in kinds for name in registry.names(each)]
    if as_json:
        show_json([_facts(part) for part in found])
        return
    own = {"dataset": _DATASET_COLUMNS, "preset": _PRESET_COLUMNS}
    columns: tuple[str, ...] = own.get(kinds[0], _COLUMNS) if len(kinds) == 1 else _COLUMNS
    previous = ""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(_HEADINGS.get(column, column), overflow="fold", no_wrap=column == "name")
    for part in found:
        if table.row_count and part.kind != previous:
            table.add_section()
        previous = part.kind
        values = _values(part)
        cells = {column: escape(values.get(column, "")) for column in columns}
        table.add_row(*(f"[bold]{cell}[/bold]" if column == "name" else cell for column, cell in cells.items()))
    show_table(table)


def _facts(part: Part) -> dict[str, str | bool | None]:
    own = {
        "kind": part.kind,
        "name": part.name,
        "summary": part.summary,
        "licence": part.licence,
        "source": part.source,
    }
    return {**part.details, **own, "installed": part.is_installed, "install": part.install_command}


def _values(part: Part) -> dict[str, str]:
    missing = "" if part.is_installed else part.missing_command or ""
    own = {"kind": part.kind, "name": part.name, "summary": part.summary, "licence": part.licence, "install": missing}
    return {**part.details, **own}
