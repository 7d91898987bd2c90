"""The ``facekit`` command: its verbs, and errors as one line and an exit status.

Verbs import what they use when they run, so that ``facekit --help`` stays fast.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from facekit._version import __version__
from facekit.cli import (
    ask,
    convert,
    datagen,
    demo,
    doctor,
    evaluate,
    export,
    inspect,
    judge,
    list_parts,
    preprocess,
    train,
    verify,
)
from facekit.compat.versions import notice_untested_versions
from facekit.errors import FaceKitError

app = typer.Typer(
    name="facekit",
    help="Build, train, evaluate and ask face-understanding multimodal language models.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list")(list_parts.list_parts)
app.command("demo")(demo.demo)
app.command("ask")(ask.ask)
app.command("convert")(convert.convert)
app.command("preprocess")(preprocess.preprocess)
app.command("verify")(verify.verify)
app.command("datagen")(datagen.datagen)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("facexbench")(evaluate.facexbench)
app.command("judge")(judge.judge)
app.command("export")(export.export)
app.command("inspect")(inspect.inspect)
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facekit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens.")] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not verbose:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    notice_untested_versions()


def main() -> None:
    """Run the command line; an error that a user can act on is one line and exit status 2."""
    try:
        app()
    except FaceKitError as error:
        typer.echo(f"facekit: error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("facekit: stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
