"""A folder held by one process at a time; the lock goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekit.data.atomic import explained_writes
from facekit.errors import ConfigurationError

__all__ = ["LOCK", "hold_folder"]

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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise ConfigurationError(f"{holder} is writing {folder}; wait for it to end, or stop it") from error
        except OSError as error:
            logger.warning("%s cannot be locked (%s); start no second run on it", folder, error.strerror)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
