"""What is said when Ctrl-C ends a verb, or a training run inside it: how to go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from facekit.errors import TrainingInterrupted

_STATUS = 130  # as shells have it for SIGINT


@contextmanager
def stopped_training(remedy: str) -> Iterator[None]:
    """Print what an interrupted run saved and how to go on, as one line, and exit with status 130.

    Args:
        remedy: How to go on from the command line.
    """
    try:
        yield
    except TrainingInterrupted as interruption:
        typer.echo(f"facekit: {interruption.saved}; {remedy}", err=True)
        raise typer.Exit(_STATUS) from interruption


def how_to_go_on(words: Sequence[str]) -> str:
    """How a stopped command goes on where it was, as the end of a sentence; nothing for one that begins anew.

    Args:
        words: The command, without the program's name.
    """
    verb = next((word for word in words if not word.startswith("-")), "")
    has_output = any(word.partition("=")[0] == "--output" for word in words)
    if verb == "preprocess" or (verb in ("bench", "judge") and has_output) or (verb == "ask" and "--batch" in words):
        return "; the same command goes on"
    if verb == "eval" and has_output:
        return "; the same command goes on with --resume"
    return ""
