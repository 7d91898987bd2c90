"""Paths made relative to another folder, quickly for many: the two folders are resolved once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from facekit.remote.addresses import is_remote_address

__all__ = ["path_mover"]


def path_mover(old: str | Path, new: str | Path) -> Callable[[str], str]:
    """Return a function that makes a path that is relative to one folder relative to another.

    Absolute paths and addresses stay as they are.

    Args:
        old: The folder that the paths are relative to.
        new: The folder that they shall be relative to.
    """
    start, end = str(Path(old).resolve()), str(Path(new).resolve())

    def move(name: str) -> str:
        if name.startswith(os.sep) or ("://" in name and is_remote_address(name)):
            return name
        return os.path.relpath(os.path.join(start, name), end).replace(os.sep, "/")  # noqa: PTH118 - fast

    return move
