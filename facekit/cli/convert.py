"""``facekit convert``: records and datasets into any format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from facekit.cli.output import AllowOutside, show


def convert(
    origin: Annotated[str, typer.Argument(help="A file of records, or a dataset: name:folder?option=value")],
    output: Annotated[Path, typer.Argument(help="The file or folder to write.")],
    format: Annotated[
        str | None,
        typer.Option(help="records (for .jsonl), llava, sharegpt, datasets or webdataset"),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    media: Annotated[
        Path | None, typer.Option(help="Folder that paths in the input are relative to, or where shards are unpacked.")
    ] = None,
    check_images: Annotated[bool, typer.Option(help="Open every picture of a dataset; leave out broken ones.")] = False,
    allow_outside: AllowOutside = False,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there without asking.")] = False,
    card: Annotated[bool, typer.Option(help="Also write a dataset card, README.md, beside the output.")] = False,
) -> None:
    """Convert a dataset in its own layout, or records in any format, to another format."""
    from facekit.data import confinement
    from facekit.data.convert import check_place
    from facekit.data.convert import convert as convert_records

    if allow_outside:
        confinement.allow_outside()
    if not overwrite and output.expanduser().exists() and sys.stdin.isatty():
        check_place(origin, output.expanduser(), overwrite=True)
        overwrite = typer.confirm(f"{output} exists; replace it?", err=True)
    result = convert_records(
        origin,
        output,
        format,
        split=split,
        media_folder=media,
        check_images=check_images,
        card=card,
        overwrite=overwrite,
    )
    if result.summary is not None:
        show(str(result.summary))
    show(f"{result.counts.records:,} records in {result.path}")
    if result.card is not None:
        show(f"dataset card: {result.card}")
