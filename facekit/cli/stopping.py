"""What a verb says when Ctrl-C ends a training run inside it."""

from __future__ import annotations

from collections.abc import Iterator
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
