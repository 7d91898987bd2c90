"""``facekit convert``: records and datasets into any format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekit.cli.belonging import refuse_alone
from facekit.cli.output import AllowOutside, AsJson, progress_display, say, show, show_json
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.data.convert import Conversion


def convert(
    context: typer.Context,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="ORIGIN… OUTPUT",
            help="A file of records, or a dataset: name:folder?option=value; several are merged. Then the file or "
            "folder to write. Each may be an address, such as s3://bucket/records.jsonl.",
        ),
    ],
    format: Annotated[
        str | None,
        typer.Option(help="records (for .jsonl), llava, sharegpt, datasets or webdataset"),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    media: Annotated[
        Path | None, typer.Option(help="Folder that paths in the input are relative to, or where shards are unpacked.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Shares of several sets, such as 4:2:1; by default all records of each.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which records are taken by weight.")] = 0,
    drop_duplicates: Annotated[
        bool,
        typer.Option(
            "--drop-duplicates", help="Leave out near copies that ask nothing else; a report is written beside."
        ),
    ] = False,
    distance: Annotated[int, typer.Option(help="Bits of 64 in which hashes of near copies differ at most.")] = 4,
    check_images: Annotated[bool, typer.Option(help="Open every picture of a dataset; leave out broken ones.")] = False,
    allow_outside: AllowOutside = False,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there without asking.")] = False,
    card: Annotated[bool, typer.Option(help="Also write a dataset card, README.md, beside the output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert a dataset in its own layout, or records in any format, to another format; merge several into one."""
    from facekit.data import confinement
    from facekit.data.convert import check_place
    from facekit.data.convert import convert as convert_records
    from facekit.errors import ConfigurationError

    if allow_outside:
        confinement.allow_outside()
    if not drop_duplicates:
        refuse_alone(context, "--drop-duplicates", "distance")
    *origins, output = arguments
    if not origins:
        raise ConfigurationError("convert needs what to read and then what to write; the last argument is the output")
    if output == "-":
        raise ConfigurationError("convert writes a file, not standard output; name one in place of '-'")
    path = Path(output).expanduser()
    if not overwrite and path.exists() and sys.stdin.isatty():
        for origin in origins:
            check_place(origin, path, overwrite=True)
        overwrite = typer.confirm(f"{output} exists; replace it?", err=True)
    with progress_display() as progress:
        result = convert_records(
            origins[0] if len(origins) == 1 else origins,
            output,
            format,
            split=split,
            media_folder=media,
            check_images=check_images,
            card=card,
            overwrite=overwrite,
            weights=None if weights is None else _read_weights(weights),
            seed=seed,
            drop_duplicates=drop_duplicates,
            distance=distance,
            on_progress=progress,
        )
    if as_json:
        show_json(_facts(result))
    else:
        _show(result, f"{path.stem}-duplicates.html")


def _show(result: Conversion, report: str) -> None:
    from facekit.data.duplicates.report import describe_kept_beside, describe_leaks

    for part in result.merged:
        show(str(part))
    if result.duplicates is not None:
        show(f"{counted(len(result.duplicates.copies), 'near copy')} dropped: {report}")
        beside = describe_kept_beside(result.duplicates)
        if beside is not None:
            show(beside)
        leaks = describe_leaks(result.duplicates)
        if leaks is not None:
            show(f"{leaks}; they were dropped")
    if result.summary is not None:
        show(str(result.summary))
    show(f"{counted(result.counts.records, 'record')} in {result.path}")
    if result.missing.count:
        others = result.missing.count - 1
        more = f", nor {counted(others, 'other file')} that the records name" if others else ""
        say(
            f"note: there is no {result.missing.examples[0]}{more}; --media FOLDER says where pictures are and unpacks "
            "those of shards"
        )
    if result.card is not None:
        show(f"dataset card: {result.card}")


def _facts(result: Conversion) -> dict[str, Any]:
    found = result.duplicates
    return {
        "output": result.path,
        "records": result.counts.records,
        "counts": result.counts,
        "source": result.summary,
        "merged": result.merged,
        "missing": result.missing,
        "near_copies": None if found is None else len(found.copies),
        "leaks": None if found is None else len(found.leaks),
        "card": result.card,
    }


def _read_weights(text: str) -> list[float]:
    from facekit.errors import ConfigurationError

    try:
        return [float(each) for each in text.replace(",", ":").split(":")]
    except ValueError as error:
        raise ConfigurationError(f"--weights are numbers, such as 4:2:1, not '{text}'") from error
