"""Outputs on other file systems: written in the mirror, uploaded when they are whole.

A folder that an earlier run uploaded is fetched first, so that a run goes on in it from any machine. What runs write
at once into one remote folder from several machines is not kept apart.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facekit.errors import FaceKitError, first_line
from facekit.remote.addresses import address_of, is_mirrored, is_remote_address, mirrored
from facekit.remote.filesystems import explained_remote, open_file_system
from facekit.remote.mirror import fetch_file, list_remote, remote_kind, token_of

__all__ = ["HIDDEN_NAMES", "output_place", "upload_files", "upload_folder", "uploaded_folder"]

logger = logging.getLogger(__name__)

_STATE = ".facekit-uploaded.json"
HIDDEN_NAMES = frozenset({_STATE, ".facekit"})
"""What is noted in a folder of the mirror about its copies."""


def output_place(output: str | Path) -> Path:
    """The path on this machine where an output is written; for a remote one, as what is there now.

    Args:
        output: A path, which is returned as it is, or an address.

    Raises:
        MissingExtraError: The file system's package is not installed.
        RemoteFileError: It cannot be read.
    """
    if not is_remote_address(output):
        return Path(output)
    place = mirrored(output)
    kind = remote_kind(place)
    if kind == "directory":
        _fetch_folder(place)
    elif kind is not None:
        fetch_file(place, address_of(place))
    elif place.is_dir():
        if not _waiting_note(place).exists():
            shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    return place


@contextmanager
def uploaded_folder(output: str | Path) -> Iterator[Path]:
    """Yield where to write a folder, which is uploaded at the end if it is remote, after an error too.

    What was written before an error is kept, so that the next run goes on from it; on this machine also where it could
    not be uploaded, or the process was killed.
    """
    folder = output_place(output)
    if not is_mirrored(folder):
        yield folder
        return
    note = _waiting_note(folder)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()
    try:
        yield folder
    except BaseException:
        try:
            upload_folder(folder)
        except FaceKitError as error:
            logger.warning(
                "what was done is in %s, and the next run here goes on from it; it could not be uploaded: %s",
                folder, first_line(error),
            )  # fmt: skip
        raise
    upload_folder(folder)


def upload_files(paths: Iterable[Path]) -> None:
    """Upload files in the mirror; others are left alone.

    Raises:
        RemoteFileError: One cannot be written.
    """
    for path in paths:
        if is_mirrored(path):
            _upload(path)


def upload_folder(folder: Path) -> None:
    """Upload what is new or changed in a folder of the mirror, and remove there what was removed here.

    Hidden files stay here, and what others wrote there meanwhile stays there.

    Raises:
        RemoteFileError: It cannot be written.
    """
    state = _read_state(folder)
    names = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    visible = {name: path for name, path in names.items() if not _is_hidden(name)}
    done: dict[str, list[Any]] = {}
    there = list_remote(folder).keys()
    for name, path in visible.items():
        stamp = _stamp(path)
        if name not in there or state.get(name, [])[:2] != stamp:
            _upload(path)
        done[name] = stamp
    address = address_of(folder)
    file_system, remote = open_file_system(address)
    for name in (there & state.keys()) - names.keys():
        with explained_remote(f"{address}/{name}", "removed"):
            file_system.rm_file(f"{remote.rstrip('/')}/{name}")
    _write_state(folder, done)
    _waiting_note(folder).unlink(missing_ok=True)


def _fetch_folder(folder: Path) -> None:
    """Make a folder of the mirror what the remote one is; what was uploaded from here and has not changed stays.

    So does what waits to be uploaded: files that are new or changed here, while those there are as they were.
    """
    state, now = _read_state(folder), {}
    waits = _waiting_note(folder).exists()
    remote = list_remote(folder)
    for name, info in remote.items():
        path, known = folder / name, state.get(name)
        if waits and path.is_file() and known is not None and known[2:] == [token_of(info)]:
            now[name] = known[:2]
            continue
        if not path.is_file() or known != [*_stamp(path), token_of(info)]:
            fetch_file(path, f"{address_of(folder)}/{name}")
        now[name] = _stamp(path)
    for path in [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []:
        name = path.relative_to(folder).as_posix()
        if name not in remote and not _is_hidden(name) and not (waits and name not in state):
            path.unlink()
    _write_state(folder, now)


def _upload(path: Path) -> None:
    address = address_of(path)
    file_system, remote = open_file_system(address)
    with explained_remote(address, "written"):
        file_system.makedirs(remote.rpartition("/")[0], exist_ok=True)
        file_system.put_file(str(path), remote)


def _waiting_note(folder: Path) -> Path:
    """The file beside a folder of the mirror that is there while something in it waits to be uploaded."""
    return folder.parent / ".facekit" / f"{folder.name}.waiting"


def _stamp(path: Path) -> list[Any]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _write_state(folder: Path, stamps: dict[str, list[Any]]) -> None:
    """Note what each file is here and there."""
    listed = list_remote(folder)
    state = {name: [*stamp, token_of(listed.get(name, {}))] for name, stamp in stamps.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")


def _read_state(folder: Path) -> dict[str, list[Any]]:
    try:
        return dict(json.loads((folder / _STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
