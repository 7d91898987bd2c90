"""Which files a records file may open: those under its folder, and those that its writer on this machine named.

A set of a stranger may name ``/home/you/private.jpg``, ``../../private.jpg`` or a link, and whatever reads it would
pack, send or show that picture. So paths that lead out of the folder of a records file are refused, unless

- ``write_records`` or ``convert`` wrote the file here: then the folders that its pictures are in stand in a file beside
  it, which counts only in the folder that it was written into (known by its inode, which nobody can foresee), or
- whoever reads it allows it: ``--allow-outside``, or ``FACEKIT_ALLOW_OUTSIDE=1``.

Addresses of other file systems are paths in the mirror (``facekit.remote``): a set there may open what is in its own
remote folder, and a set here nothing there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from facekit.data.atomic import write_text_atomically
from facekit.errors import RecordError
from facekit.remote.addresses import is_mirrored, place_of

__all__ = ["Confinement", "OutsideFolders", "allow_outside", "move_noted_folders", "note_of"]

VARIABLE = "FACEKIT_ALLOW_OUTSIDE"
_MOST_FOLDERS = 256


def allow_outside() -> None:
    """Let this process and those that it starts open what records name, wherever it is."""
    os.environ[VARIABLE] = "1"


class Confinement:
    """The folders in which the files of a set may be.

    Args:
        folder: The folder that its paths are relative to.
        records: The records file, where folders outside may have been noted when it was written; None for others.
        also: Further folders that the user has named.
        follow_links: Whether a link inside the folder counts as what it leads to.
    """

    def __init__(
        self, folder: str | Path, records: Path | None = None, *, also: Iterable[Path] = (), follow_links: bool = True
    ) -> None:
        self.folder = Path(folder)
        self.follow_links = follow_links
        self.is_open = os.environ.get(VARIABLE, "").lower() in ("1", "true", "yes", "on")
        self._home = os.path.realpath(folder)
        self._real = _RealPaths()
        folders = [self._home, *_blobs(self._home), *_noted_folders(records), *map(os.path.realpath, also)]
        self._folders = tuple(f"{each.rstrip('/')}/" for each in folders)

    def contains(self, name: str) -> bool:
        """Whether a path, relative to the folder or absolute, leads to a file that may be opened."""
        path = str(place_of(self._home, name)) if "://" in name else os.path.join(self._home, name)  # noqa: PTH118 - fast
        found = self._real.of(path) if self.follow_links else os.path.normpath(path)
        if is_mirrored(found) and not is_mirrored(f"{self._home}/"):
            return any(is_mirrored(each) and f"{found}/".startswith(each) for each in self._folders)
        return f"{found}/".startswith(self._folders)

    def check(self, names: Iterable[str], where: str) -> None:
        """Refuse paths that lead elsewhere.

        Args:
            names: The paths.
            where: File and line, for the message.

        Raises:
            RecordError: One does.
        """
        if self.is_open:
            return
        for name in names:
            if not self.contains(name):
                raise RecordError(
                    f"{where}: the path {name!r} leads out of {self.folder}; if you trust whoever wrote it, allow it "
                    f"with --allow-outside, or {VARIABLE}=1"
                )


class OutsideFolders:
    """Collects the folders outside, in which files of a set are that is being written.

    Args:
        records: The records file that is written.
    """

    def __init__(self, records: Path) -> None:
        self.records = records
        self._home = os.path.realpath(records.parent)
        self._real = _RealPaths()
        self._folders: set[str] = set()

    def add(self, names: Iterable[str]) -> None:
        """Take in the paths of a record."""
        for name in names:
            real = self._real.of(str(place_of(self._home, name)))
            if not real.startswith(f"{self._home.rstrip('/')}/"):
                self._folders.add(real.rpartition("/")[0] or "/")

    def write(self) -> None:
        """Note the folders beside the records file, once that is written; without any, what was noted before goes."""
        note = note_of(self.records)
        if not self._folders:
            note.unlink(missing_ok=True)
            return
        folders = _outermost(self._folders)
        while len(folders) > _MOST_FOLDERS:
            folders = _outermost({folder.rpartition("/")[0] or "/" for folder in folders})
        content = {"inode": self.records.parent.stat().st_ino, "folders": folders}
        write_text_atomically(note, json.dumps(content, indent=1) + "\n")


def move_noted_folders(old: Path, new: Path) -> None:
    """Take what was noted for one file to another in the same folder."""
    if note_of(old).is_file():
        note_of(old).replace(note_of(new))
    else:
        note_of(new).unlink(missing_ok=True)


class _RealPaths:
    """Absolute paths with links followed; each folder is looked at once."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def of(self, path: str) -> str:
        if "\0" in path:  # no system has such a file
            return os.path.normpath(path)
        folder, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            return os.path.realpath(path)
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = os.path.realpath(folder or "/")
        found = f"{known.rstrip('/')}/{name}"
        return os.path.realpath(found) if os.path.islink(found) else found  # noqa: PTH114 - fast


def _blobs(folder: str) -> list[str]:
    """Where the files of a snapshot in the Hugging Face cache are, whose names are links."""
    before, snapshot, _ = f"{folder}/".rpartition("/snapshots/")
    blobs = f"{before}/blobs"
    return [blobs] if snapshot and os.path.realpath(blobs) == blobs else []


def note_of(records: Path) -> Path:
    """Where the folders outside are noted, beside the records file."""
    return records.with_name(f".{records.name}.folders.json")


def _noted_folders(records: Path | None) -> list[str]:
    if records is None or not note_of(records).is_file():
        return []
    try:
        content = json.loads(note_of(records).read_text(encoding="utf-8"))
        if content["inode"] != records.parent.stat().st_ino:
            return []
        return [str(folder) for folder in content["folders"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _outermost(folders: Iterable[str]) -> list[str]:
    """Those folders that are in none of the others."""
    kept: list[str] = []
    for folder in sorted(folders, key=lambda each: f"{each.rstrip('/')}/"):
        if not kept or not f"{folder}/".startswith(f"{kept[-1].rstrip('/')}/"):
            kept.append(folder)
    return kept
