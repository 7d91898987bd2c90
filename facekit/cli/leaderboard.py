"""``facekit leaderboard``: several runs as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facekit.cli.output import AsJson, show, show_json


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders that were --output of facekit eval or facekit bench.")],
    output: Annotated[Path, typer.Option(help="Where leaderboard.html goes.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write a leaderboard page: models in rows, what they were measured on in columns."""
    from facekit.evaluation import write_leaderboard

    page = write_leaderboard(output, runs)
    if as_json:
        show_json({"leaderboard": page})
    else:
        show(f"leaderboard  {page}")
