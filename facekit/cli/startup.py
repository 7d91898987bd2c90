"""A quick start and end of verbs that answer: no garbage collection and no unused imports while they open a model.

What is made at the start lives as long as the process, and the collector went through all of it many times, once more
at the end of the process: a third of the processor time of ``facekit ask`` with a small model.
The interpreter's freeing of it, object by object, is left out as well. ``FACEKIT_QUICK_START=0`` in the environment
turns all of it off.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

from facekit.compat.deferred_imports import defer_imports
from facekit.compat.interpreter import end_process

ENVIRONMENT_VARIABLE = "FACEKIT_QUICK_START"

_process = {"own": False, "quick": False}


def own_process() -> None:
    """Say that the process is the command line's own, which chooses how it imports and when garbage is collected."""
    _process["own"] = os.environ.get(ENVIRONMENT_VARIABLE) != "0"


@contextmanager
def starting() -> Iterator[None]:
    """Put off imports that only other verbs use, and rest the collector within the block.

    Later collections leave out all that lives at the end of the block. A process that is not the command line's own,
    as that of a program that calls a verb, imports and collects as ever; a collector that rests already is left alone.
    """
    if _process["own"]:
        _process["quick"] = True
        defer_imports()
    if not _process["own"] or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave(status: int) -> None:
    """End the process at once where it began with a quick start; elsewhere return, for the interpreter to end it."""
    if _process["quick"]:
        end_process(status)
