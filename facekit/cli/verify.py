"""``facekit verify``: whether what was written is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facekit.cli.output import AllowOutside, AsJson, say, show, show_json
from facekit.counted import counted, singular


def verify(
    path: Annotated[Path, typer.Argument(help="A folder of records, shards, features or checkpoints; or one file.")],
    open_media: Annotated[
        bool, typer.Option("--open-media", help="Also decode every picture, and a frame of every clip.")
    ] = False,
    allow_outside: AllowOutside = False,
    as_json: AsJson = False,
) -> None:
    """Check records, shards, features, checkpoints and ledgers: complete, consistent, unchanged.

    The exit status is 0 where all is well, 1 where something is wrong, 2 where there is nothing to check.
    """
    from facekit.data import confinement
    from facekit.data.verification import Checked
    from facekit.data.verification import verify as check

    if allow_outside:
        confinement.allow_outside()

    def report(checked: Checked) -> None:
        verdict = "ok" if not checked.faults else f"{checked.faults:,} wrong"
        show(f"{checked.path}: {checked.kind}, {counted(checked.count, singular(checked.unit))}: {verdict}")
        for problem in checked.problems:
            show(f"  {problem}")
        if checked.faults > len(checked.problems):
            show(f"  and {checked.faults - len(checked.problems):,} more")

    result = check(path, open_media=open_media, on_checked=None if as_json else report)
    if as_json:
        show_json({"path": result.path, "faults": result.faults, "checked": result.checked})
    else:
        say(f"{len(result.checked):,} checked, {result.faults:,} wrong")
    if result.faults:
        raise typer.Exit(1)
