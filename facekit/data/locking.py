"""Files and folders held by one process at a time; a lock goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from facekit.data.atomic import explained_writes
from facekit.errors import ConfigurationError

__all__ = ["LOCK", "hold_file", "hold_folder"]

logger = logging.getLogger(__name__)

LOCK = ".lock"


@contextmanager
def hold_folder(folder: str | Path) -> Iterator[None]:
    """Keep other processes that call this out of a folder while the ``with`` block runs.

    The file ``.lock`` in it names the process that holds it, and is empty while none does.

    Args:
        folder: The folder; it is made.

    Raises:
        ConfigurationError: Another process holds it; the message has its number.
        OutputError: The folder cannot be written to.
    """
    path = Path(folder) / LOCK
    with explained_writes(f"{folder} cannot be written to", "choose another output folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:

        def holder() -> str:
            file.seek(0)
            return file.read().strip()

        hold_file(file, folder, holder)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def hold_file(file: TextIO, written: str | Path, holder: Callable[[], str] = str) -> None:
    """Keep other processes that call this out of a file until it is closed.

    Args:
        file: The file, open.
        written: What is written while it is held.
        holder: Tells who holds it, or nothing.

    Raises:
        ConfigurationError: Another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigurationError(
            f"{holder() or 'another process'} is writing {written}; wait for it to end, or stop it"
        ) from error
    except OSError as error:
        logger.warning("%s cannot be locked (%s); start no second run on it", written, error.strerror)
