"""``facekit list``: the catalog as a table; it imports no part, so it answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from facekit.catalog import current_registry
from facekit.registry import KINDS


def list_parts(
    kind: Annotated[str | None, typer.Argument(help=f"One kind only: {', '.join(KINDS)} (plural works too).")] = None,
) -> None:
    """List what can be mixed: encoders, connectors, backbones, landmarkers, presets, datasets, annotators, tasks."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    registry = current_registry()
    kinds = KINDS if kind is None else (kind if kind in KINDS else kind.removesuffix("s"),)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("kind", "name", "summary", "licence", "install"):
        table.add_column(column, overflow="fold")
    for each in kinds:
        for name in registry.names(each):
            part = registry.part(each, name)
            missing = "" if part.is_installed else part.install_command or ""
            table.add_row(
                part.kind, f"[bold]{part.name}[/bold]", escape(part.summary), escape(part.licence), escape(missing)
            )
        table.add_section()
    Console(width=None if sys.stdout.isatty() else 160).print(table)
