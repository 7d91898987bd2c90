"""Atomic folder writes: an interruption leaves no half-written folder under its name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekit.data.atomic import explained_want_of_room, require_writable
from facekit.errors import ConfigurationError
from facekit.file_modes import new_folder_mode

__all__ = ["replace_folder", "write_folder"]


@contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the name ``path`` when the ``with`` block ends without an error.

    Raises:
        ConfigurationError: There is something under that name already.
        OutputError: The folder that it would lie in cannot be written to, or the disk is full.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigurationError(f"{path} exists already; remove it or name another folder")
    require_writable(path.parent)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        with explained_want_of_room(f"{path} cannot be written"):
            yield temporary
            temporary.chmod(new_folder_mode())
            if path.exists():
                path.rmdir()
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give a free name beside a folder; what is written there replaces it when the ``with`` block ends.

    After an error the folder is as it was.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True) as name:
        old = Path(name) / "old"
        fresh = path.parent / f"{Path(name).name}.new"
        try:
            yield fresh
            if path.exists():
                path.replace(old)
            fresh.replace(path)
        except BaseException:
            if old.exists() and not path.exists():
                old.replace(path)
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
