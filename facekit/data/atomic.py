"""Atomic file writes: an interruption or a full disk leaves the old files, never half of new ones."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from facekit.errors import OutputError, first_line
from facekit.file_modes import new_file_mode
from facekit.remote.addresses import is_remote_address

_SAVING = ".saving-"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_ANOTHER = "choose another folder"
_REMEDY = f"make room on the disk, or {_ANOTHER}"


@contextmanager
def open_atomically(path: str | Path) -> Iterator[TextIO]:
    """Open a text file for writing that takes its name only when the ``with`` block ends without an error.

    Args:
        path: The file; its folder is made.

    Raises:
        OutputError: It cannot be written.
    """
    with _part_of(Path(path)) as part, part.open("w", encoding="utf-8") as file:
        yield file


def write_text_atomically(path: str | Path, text: str) -> Path:
    """Write a text file with ``open_atomically`` and return its path; raises ``OutputError``."""
    with open_atomically(path) as file:
        file.write(text)
    return Path(path)


def write_bytes_atomically(path: str | Path, content: bytes) -> Path:
    """Write a binary file as ``write_text_atomically`` does a text."""
    with _part_of(Path(path)) as part:
        part.write_bytes(content)
    return Path(path)


@contextmanager
def save_together(folder: str | Path, *, replacing: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty folder whose files move to another when the ``with`` block ends without an error.

    After an error, that folder is as it was. What a killed process left half saved goes away with the next save.

    Args:
        folder: Where the files go; it is made.
        replacing: Patterns of files there that those of an earlier save had, and that go where this one has none of
            their name: a model that was in one file may now be in two.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_SAVING}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_SAVING, ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)
        names = [path.relative_to(temporary) for path in sorted(Path(temporary).rglob("*")) if path.is_file()]
        for name in names:
            _flush(Path(temporary) / name)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(temporary) / name).replace(folder / name)
        for path in {path for pattern in replacing for path in folder.glob(pattern)}:
            if path.relative_to(folder) not in names:
                path.unlink()


def require_writable(folder: str | Path) -> Path:
    """Make a folder, if need be, and make sure that files can be written into it.

    Raises:
        OutputError: A file is in its way, it is read-only, or the disk is full.
    """
    folder = Path(folder)
    _require_local(folder)
    with explained_writes(f"{folder} cannot be written to", "choose another output folder"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    return folder


def _require_local(path: Path) -> None:
    """Refuse the address of another file system, which as a path would be a folder ``s3:`` here."""
    if is_remote_address(path):
        raise OutputError(
            f"{path} cannot be written", "this is not written to other file systems", "name a path on this machine"
        )


@contextmanager
def explained_writes(story: str, remedy: str | None = None) -> Iterator[None]:
    """Turn an ``OSError`` into an ``OutputError``: what could not be written, why, and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.reason if isinstance(error, OutputError) else error.strerror or first_line(error)
        if remedy is None:
            usual = _REMEDY if error.errno in _NO_ROOM else _ANOTHER
            remedy = error.remedy if isinstance(error, OutputError) else usual
        raise OutputError(story, reason, remedy) from error


@contextmanager
def explained_want_of_room(story: str) -> Iterator[None]:
    """Turn an ``OSError`` about a full disk into an ``OutputError``; others are of whoever makes the content."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OutputError(story, error.strerror or first_line(error), _REMEDY) from error


@contextmanager
def _part_of(path: Path) -> Iterator[Path]:
    """Yield the path of an empty file beside another, which it replaces at the end."""
    story = f"{path} cannot be written"
    _require_local(path)
    with explained_writes(story):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(descriptor)
    part = Path(name)
    try:
        with explained_want_of_room(story):
            yield part
            with explained_writes(story):
                part.chmod(new_file_mode())
                part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file is on the disk, which may turn out to be full only then."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
