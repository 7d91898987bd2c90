"""The mirror: copies of remote files on this machine, fetched when they are first opened.

A file that is named as an origin is compared with the remote one whenever it is opened; the media that records name are
fetched once. Files come under their names only when they are whole, so that processes may fetch at once.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from facekit.errors import OutputError, RemoteFileError, first_line
from facekit.file_modes import new_file_mode
from facekit.remote.addresses import (
    address_of,
    hide_secrets,
    is_mirrored,
    is_remote_address,
    mirror_root,
    mirrored,
    require_names,
)
from facekit.remote.filesystems import explained_remote, open_file_system, says_absent

__all__ = [
    "LARGEST_FILE",
    "fetch_file",
    "file_is_there",
    "list_remote",
    "local_copy",
    "remote_kind",
    "require_here",
    "token_of",
]

logger = logging.getLogger(__name__)

LARGEST_FILE = 1 << 30
"""Bytes of a file that a record names."""

_NOTES = ".facekit"
_LARGE = (".tar",)
_UNLISTED = ("http://", "https://")  # servers need not list what they have
_TELLING = ("size", "etag", "md5", "sha", "modified", "mtime", "created", "updated", "generation", "blob_id", "lfs")


def local_copy(origin: str | Path) -> Path:
    """The path on this machine of a file or folder, whatever file system it is on.

    Args:
        origin: A path, which is returned as it is; or an address such as ``s3://bucket/set/records.jsonl``. A file is
            fetched if it is not here or has changed. Of a folder all files are fetched, but for tar files, which are
            fetched when they are opened, where its ``manifest.json`` names them.

    Raises:
        MissingExtraError: The file system's package is not installed.
        RemoteFileError: There is nothing at the address, or it cannot be read.
    """
    if not is_remote_address(origin):
        return Path(origin)
    place = mirrored(origin)
    address = address_of(place)
    file_system, path = open_file_system(address)
    with explained_remote(address):
        info = file_system.info(path)
    if info.get("type") != "directory":
        _fetch_if_changed(place, address, info)
        return place
    files = list_remote(place)
    has_manifest = "manifest.json" in files
    for name, found in files.items():
        if not (has_manifest and ("/" in name or name.endswith(_LARGE))):
            _fetch_if_changed(place / name, f"{address}/{name}", found)
    return place


def require_here(path: Path, largest: int | None = LARGEST_FILE) -> None:
    """Fetch the file of a path in the mirror, if it is not here yet; of other paths nothing is looked at.

    Args:
        path: The path.
        largest: Most bytes that are fetched; None for any number, for the shards of a set.

    Raises:
        MissingExtraError: The file system's package is not installed.
        RemoteFileError: It cannot be read, or has more bytes. Where there is no such file, nothing happens.
    """
    if not is_mirrored(path) or path.exists():
        return
    address = address_of(path)
    file_system, remote = open_file_system(address)
    with explained_remote(address):
        try:
            info = file_system.info(remote)
        except FileNotFoundError as error:
            if says_absent(error):
                return
            raise
    if info.get("type") == "directory":
        return
    size = info.get("size")
    if largest is not None and size is not None:
        _check_size(size, largest, address)
    is_certain = size is not None and not address.startswith(_UNLISTED)  # a web server sends what it likes
    fetch_file(path, address, largest=None if is_certain else largest)


def file_is_there(path: Path) -> bool:
    """Whether there is a file of a path, here or, of one in the mirror, where it is mirrored from."""
    if path.is_file():
        return True
    if not is_mirrored(path):
        return False
    if address_of(path).startswith(_UNLISTED):
        return remote_kind(path) == "file"
    return path.name in _names_in(str(path.parent), os.getpid())


def remote_kind(place: Path) -> str | None:
    """``file`` or ``directory``, what there is at the address of a place in the mirror; None for nothing."""
    address = address_of(place)
    file_system, path = open_file_system(address)
    with explained_remote(address):
        try:
            kind: str = file_system.info(path).get("type", "file")
        except FileNotFoundError as error:
            if says_absent(error):
                return None
            raise
    return kind


def list_remote(place: Path) -> dict[str, dict[str, Any]]:
    """What is said of each file in the remote folder of a place, and in those in it, by its name relative to it.

    Raises:
        RemoteFileError: It cannot be read, or has a file whose name leads out of it.
        RecordError: A name in it is too long for this machine.
    """
    address = address_of(place)
    file_system, path = open_file_system(address)
    with explained_remote(address):
        file_system.invalidate_cache()
        found = file_system.find(path, detail=True)
    start = path.rstrip("/") + "/"
    files = {
        name.removeprefix(start): info
        for name, info in sorted(found.items())
        if name.startswith(start) and info.get("type") != "directory"  # some list the mark of the folder itself
    }
    for name in files:
        parts = name.split("/")
        if name.startswith("/") or ".." in parts:
            raise RemoteFileError(
                f"{hide_secrets(address)} has a file {name!r}, whose name leads out of the folder; remove or rename it "
                "there"
            )
        require_names(parts)
    return files


def token_of(info: Mapping[str, Any]) -> str:
    """What tells one state of a remote file from another, of all that a file system says about it."""
    telling = {name: str(value) for name, value in info.items() if any(word in name.lower() for word in _TELLING)}
    return json.dumps(telling, sort_keys=True)


def fetch_file(place: Path, address: str, *, largest: int | None = None) -> None:
    """Copy a remote file to its place in the mirror.

    Args:
        place: The place.
        address: Of the file.
        largest: Most bytes, counted as they come; None for any number.

    Raises:
        RemoteFileError: It cannot be read, or has more bytes.
        OutputError: The mirror cannot be written to.
    """
    file_system, path = open_file_system(address)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".fetching-")
    except OSError as error:
        raise OutputError(
            f"the copy of {hide_secrets(address)} in {mirror_root()} cannot be written",
            error.strerror or first_line(error),
            "set FACEKIT_CACHE to another folder",
        ) from error
    os.close(descriptor)
    part = Path(name)
    try:
        with explained_remote(address):
            file_system.get_file(path, name, **({} if largest is None else {"callback": _counting(largest, address)}))
        part.chmod(new_file_mode())
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _counting(largest: int, address: str) -> Any:
    """What fsspec tells of each piece that comes: it ends the transfer beyond a bound."""
    from fsspec.callbacks import Callback

    def count(size: int | None, value: int, **_: Any) -> None:
        _check_size(max(size or 0, value), largest, address)

    return Callback(hooks={"count": count})


def _check_size(size: int, largest: int, address: str) -> None:
    if size > largest:
        remedy = "shrink it, or fetch it yourself and give its path"
        raise RemoteFileError(f"{hide_secrets(address)} has more than {largest:,} bytes; {remedy}", errno.EFBIG)


def _fetch_if_changed(place: Path, address: str, info: Mapping[str, Any]) -> None:
    note = place.parent / _NOTES / f"{place.name}.remote.json"
    token = token_of(info)
    try:
        if place.is_file() and note.read_text(encoding="utf-8") == token:
            return
    except OSError:
        pass
    logger.info("fetching %s", hide_secrets(address))
    fetch_file(place, address)
    note.parent.mkdir(exist_ok=True)
    note.write_text(token, encoding="utf-8")


@lru_cache(maxsize=4096)
def _names_in(folder: str, process: int) -> frozenset[str]:
    """Names of the files in the remote folder of a place, listed once by each process."""
    address = address_of(Path(folder))
    file_system, path = open_file_system(address)
    try:
        with explained_remote(address):
            found = file_system.ls(path, detail=False)
    except RemoteFileError as error:
        if error.errno == errno.ENOENT:
            return frozenset()
        raise
    return frozenset(name.rstrip("/").rpartition("/")[2] for name in found)
