"""The ``facekit`` command: its verbs, and errors as one line and an exit status.

Verbs import what they use when they run, so that ``facekit --help`` stays fast.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from facekit._version import __version__
from facekit.cli import (
    ask,
    bench,
    convert,
    datagen,
    demo,
    doctor,
    duplicates,
    evaluate,
    export,
    inspect,
    judge,
    leaderboard,
    list_parts,
    output,
    preprocess,
    serve,
    startup,
    train,
    verify,
)
from facekit.cli.output import AllowOutside
from facekit.cli.stopping import how_to_go_on
from facekit.compat.typer import USAGE_ERROR
from facekit.compat.versions import notice_untested_versions
from facekit.errors import ConfigurationError, FaceKitError, first_line

logger = logging.getLogger(__name__)

_BROKEN_PIPE = 128 + 13  # as shells have it for SIGPIPE


class _Verbs(TyperGroup):
    """The verbs, of which Ctrl-C ends each as it ends ``main``: typer alone would exit without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise typer.Abort from error


class _LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


app = typer.Typer(
    name="facekit",
    cls=_Verbs,
    help="Build, train, evaluate and ask face-understanding multimodal language models.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its help cuts the names of options at 80 columns, and in a pipe
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list")(list_parts.list_parts)
app.command("demo")(demo.demo)
app.command("ask")(ask.ask)
app.command("convert")(convert.convert)
app.command("preprocess")(preprocess.preprocess)
app.command("verify")(verify.verify)
app.command("duplicates")(duplicates.duplicates)
app.command("datagen")(datagen.datagen)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.command("facexbench", deprecated=True)(bench.facexbench)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("judge")(judge.judge)
app.command("export")(export.export)
app.command("inspect")(inspect.inspect)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
for _verb in app.registered_commands:  # the help of all shortens what it takes from docstrings by itself
    _verb.short_help = " ".join((getattr(_verb.callback, "__doc__", None) or "").partition("\n\n")[0].split())


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facekit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens; where errors arose.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only.")] = False,
    log_level: Annotated[_LogLevel | None, typer.Option(help="What is logged, in place of -v and -q.")] = None,
    allow_outside: AllowOutside = False,
) -> None:
    if allow_outside:
        from facekit.data import confinement

        confinement.allow_outside()
    if verbose and quiet:
        raise ConfigurationError("--verbose and --quiet exclude each other; choose one")
    chosen = log_level or (_LogLevel.info if verbose else _LogLevel.error if quiet else _LogLevel.warning)
    logging.basicConfig(level=chosen.upper(), format="%(name)s: %(message)s")
    output.keep_quiet(quiet)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if verbose else "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "OMP_WAIT_POLICY" not in os.environ:
        # Waiting threads of OpenMP spin much longer, and on shared cores keep those whom they wait for from running.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if not verbose:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars that no setting of their library turns off, as that of GGUF
    notice_untested_versions()


def _refuse_empty_words(words: Sequence[str]) -> None:
    """Refuse a command with an empty word, mostly a shell's variable that is not set: as a path it is this folder."""
    for index, word in enumerate(words):
        if not word:
            place = f"the one after '{words[index - 1]}'" if index else "the first one"
            raise ConfigurationError(f"a word of the command is empty, {place}; give it a value, or leave it out")


def _tell(story: str) -> None:
    logger.info("the error arose here", exc_info=True)
    typer.echo(f"facekit: error: {output.name_addresses(story)}", err=True)


def _tell_usage(error: Exception) -> None:
    """One line about a command line that cannot be read; the help where there is no command at all."""
    message = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if not sys.argv[1:] and context is not None:
        typer.echo(context.get_help(), err=True)
        return
    verb = context.info_name if context is not None and context.parent is not None else ""
    typer.echo(
        f"facekit: error: {' '.join(message.split()).rstrip('.')}; see facekit {verb} --help".replace("  ", " "),
        err=True,
    )


def _describe(error: OSError) -> str:
    """One line about a file, folder or connection that the system refused."""
    reason = error.strerror or first_line(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def main() -> None:
    """Run the command line; an error that a user can act on is one line and exit status 2."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called, as by ">&-"
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - it is open until the end
    startup.own_process()
    try:
        _refuse_empty_words(sys.argv[1:])
        status = app(standalone_mode=False)
        startup.leave(status or 0)
        sys.exit(status)
    except USAGE_ERROR as error:
        _tell_usage(error)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo(f"facekit: stopped{how_to_go_on(sys.argv[1:])}", err=True)
        sys.exit(130)
    except FaceKitError as error:
        _tell(str(error))
        sys.exit(2)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_BROKEN_PIPE)
    except OSError as error:
        _tell(_describe(error))
        sys.exit(2)
    except RecursionError:
        _tell("a file that is read holds lists or tables too deep in each other; -v shows where it is read")
        sys.exit(2)
    except RuntimeError as error:
        if "home directory" not in str(error):  # as pathlib has it
            raise
        _tell("a path begins with '~', and there is no such user or home folder here; write the whole path")
        sys.exit(2)


if __name__ == "__main__":
    main()
