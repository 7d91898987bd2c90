"""``facekit duplicates``: near copies within and across sets, and between training and test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekit.cli.output import AllowOutside, AsJson, progress_display, say, show, show_json
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.data.duplicates.finding import Duplicates


def duplicates(
    origins: Annotated[
        list[str], typer.Argument(metavar="ORIGIN…", help="Files of records, or datasets: name:folder?option=value")
    ],
    output: Annotated[Path, typer.Option(help="The report: a JSON file, and a page beside it.")] = Path(
        "duplicates.json"
    ),
    distance: Annotated[int, typer.Option(help="Bits of 64 in which hashes of near copies differ at most.")] = 4,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that open pictures; by default one per core.")
    ] = None,
    allow_outside: AllowOutside = False,
    as_json: AsJson = False,
) -> None:
    """Find near copies by perceptual hashes and report them; facekit convert --drop-duplicates leaves them out.

    The exit status is 1 where pictures are in training and in a split that is held out.
    """
    from facekit.data import confinement
    from facekit.data.duplicates.finding import find_duplicates
    from facekit.data.duplicates.report import check_report_place, write_report

    if allow_outside:
        confinement.allow_outside()
    check_report_place(output.expanduser(), origins)
    with progress_display() as progress:
        found = find_duplicates(origins, distance=distance, split=split, workers=workers, on_progress=progress)
    path, page = write_report(found, output.expanduser())
    if as_json:
        show_json(_facts(found) | {"report": path, "page": page})
    else:
        _show(found)
        say(f"report: {page} and {path}")
    if found.leaks:
        raise typer.Exit(1)


def _show(found: Duplicates) -> None:
    from facekit.data.duplicates.report import describe_kept_beside, describe_leaks

    show(f"{counted(len(found.copies), 'near copy')} among {counted(found.compared, 'record')}")
    for (kept, dropped), number in sorted(found.between.items()):
        where = f"within {found.sets[kept]}" if kept == dropped else f"{found.sets[dropped]}, of {found.sets[kept]}"
        show(f"  {number:,} {where}")
    beside = describe_kept_beside(found)
    if beside is not None:
        show(f"  {beside}")
    if found.unreadable.count:
        show(f"  {found.unreadable.count:,} could not be opened: {'; '.join(found.unreadable.examples[:3])}")
    leaks = describe_leaks(found)
    if leaks is not None:
        show(leaks)
    elif len(found.sets) > 1 and not found.splits:
        say(
            "note: neither the records nor the files' names say what is training and what is test, so leaks between "
            "them are not looked for; give the records a 'split', or the files such names as train.jsonl and test.jsonl"
        )


def _facts(found: Duplicates) -> dict[str, Any]:
    between = [
        {"kept_in": found.sets[kept], "copies_in": found.sets[dropped], "copies": number}
        for (kept, dropped), number in sorted(found.between.items())
    ]
    return {
        "records": sum(found.records),
        "compared": found.compared,
        "near_copies": len(found.copies),
        "between": between,
        "leaks": len(found.leaks),
        "kept_beside": found.kept_beside,
        "unreadable": found.unreadable,
    }
