"""Walking everything under a folder: each file once, with what it is.

Real files come first, by folder and name. Links come after them, so that a file has the name it lies under where it has
one, and a folder that is linked twice, or that links to what it lies in, is entered once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from facekit.faces.file_kinds import FileKind, file_kind

__all__ = ["FoundFile", "Outcome", "walk_files"]

Outcome: TypeAlias = Literal["media", "other", "failed", "duplicate"]


@dataclass(frozen=True)
class FoundFile:
    """A file under a folder.

    Args:
        path: Under the folder that was walked, through whatever links.
        outcome: ``media``; ``other``, no picture or video; ``failed``, its kind is unknown; ``duplicate``, a link to
            what is found under another name.
        kind: Of media.
        reason: Of the others: the suffix, what failed, or what is duplicated.
    """

    path: Path
    outcome: Outcome
    kind: FileKind | None = None
    reason: str = ""


def walk_files(root: Path) -> Iterator[FoundFile]:
    """Yield every file under a folder exactly once.

    A folder that cannot be listed is one failure, as are a name that is not UTF-8, a link to nothing, and a file whose
    kind only its contents show and that cannot be read.

    Args:
        root: The folder.
    """
    return _Walk(root).files()


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.entered: set[tuple[int, int]] = set()
        self.links: list[Path] = []
        self.targets: set[Path] = set()

    def files(self) -> Iterator[FoundFile]:
        yield from self._enter(self.root)
        file_links = []
        while self.links:
            link = self.links.pop(0)
            if not link.is_dir():
                file_links.append(link)
            elif _identify(link) in self.entered:
                yield FoundFile(link, "duplicate", reason="a linked folder that is read under another name")
            else:
                yield from self._enter(link)
        yield from map(self._look_at_link, file_links)

    def _enter(self, folder: Path) -> Iterator[FoundFile]:
        try:
            self.entered.add(_identify(folder))
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield FoundFile(folder, "failed", reason=f"a folder that cannot be opened ({error.strerror})")
            return
        for entry in entries:
            if entry.is_symlink():
                self.links.append(folder / entry.name)
            elif not entry.is_dir(follow_symlinks=False):
                yield self._look_at(folder / entry.name)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._enter(folder / entry.name)

    def _look_at_link(self, link: Path) -> FoundFile:
        target = Path(os.path.realpath(link))  # of links that go round, resolve() makes an error
        if not target.exists():
            return FoundFile(link, "failed", reason="a link to nothing")
        if target in self.targets or _identify(target.parent) in self.entered:
            return FoundFile(link, "duplicate", reason="a link to a file that is read under another name")
        self.targets.add(target)
        return self._look_at(link)

    def _look_at(self, path: Path) -> FoundFile:
        try:
            path.relative_to(self.root).as_posix().encode()
        except UnicodeEncodeError:
            return FoundFile(path, "failed", reason="a name that is not UTF-8; rename it")
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                return FoundFile(path, "other", reason="no regular file")
            kind = file_kind(path)
        except OSError as error:
            return FoundFile(path, "failed", reason=f"a file that cannot be opened ({error.strerror})")
        if kind is None:
            return FoundFile(path, "other", reason=path.suffix.lower() or "no suffix")
        return FoundFile(path, "media", kind)


def _identify(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
