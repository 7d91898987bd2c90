"""Folders that an export writes: all of it, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekit.errors import ConfigurationError, first_line


@contextmanager
def written_whole(folder: Path) -> Iterator[None]:
    """Make a folder for what the ``with`` block writes there; after an error, what it wrote is removed.

    Args:
        folder: May hold other files, which stay.

    Raises:
        ConfigurationError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"the folder '{folder}' cannot be made: {first_line(error)}") from error
    before = set(folder.iterdir())
    try:
        yield
    except BaseException:
        for path in set(folder.iterdir()) - before:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise
