"""What a verb prints under ``--dry-run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facekit.cli.output import say, show_json, show_table
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.evaluation import Preview

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be asked; open no model, call nobody, write nothing.")
]


def show_previews(previews: Sequence[Preview], output: Path | None, *, as_json: bool) -> None:
    """Print what models would be asked, and where results would go."""
    from facekit.evaluation.report.tables import make_table

    if as_json:
        show_json({"previews": previews, "output": output})
        return
    for each in previews:
        style = ", ".join(words for words in (each.prompts and f"{each.prompts} prompts", each.scoring) if words)
        title = f"{each.model}: {counted(each.questions, 'question')}{f', {style}' if style else ''}"
        table = make_table(title, ("part", "prompt"), ("questions", "faces", "longest answer"))
        for part in each.parts:
            numbers = (f"{part.questions:,}", part.faces, f"{part.max_new_tokens:,}")
            table.add_row(part.name, part.prompt, *numbers)
        show_table(table)
    say(f"a dry run: nothing was asked; results would go to {output or 'nowhere, without --output'}")
