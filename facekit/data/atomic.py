"""Atomic file writes: an interruption leaves the old file, never half a new one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from facekit.errors import full_disk_guard


@contextmanager
def open_atomically(path: str | Path) -> Iterator[TextIO]:
    """Open a text file for writing that takes its name only when the ``with`` block ends without an error.

    Args:
        path: The file; its folder is made.

    Raises:
        StorageError: If the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with full_disk_guard(path), os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_text_atomically(path: str | Path, text: str) -> Path:
    """Write a text file with ``open_atomically`` and return its path."""
    with open_atomically(path) as file:
        file.write(text)
    return Path(path)
