"""Addresses of remote files, and their places in the mirror on this machine.

The mirror has the layout of the file systems, ``PROTOCOL/BUCKET/FOLDER/FILE``, so that a path relative to a file there
is the same relative to its copy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from facekit.errors import RecordError, show_messages_by

__all__ = [
    "address_of", "hide_secrets", "is_mirrored", "is_remote_address", "mirror_root", "mirrored",
    "name_addresses", "place_of", "require_names", "share_file_system",
]  # fmt: skip

PACKAGES: dict[str, str | None] = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp",
    "https": "aiohttp", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "oci": "ocifs", "oss": "ossfs",
    "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "webdav": "webdav4", "hdfs": "pyarrow",
    "webhdfs": "requests", "ftp": None, "memory": None,
}  # fmt: skip
"""The protocols that are read and written, and the package that each needs beside fsspec."""

VARIABLE = "FACEKIT_CACHE"

_PASSWORD = re.compile(r"(\w+://)[^/\s@]*@")
_QUERY = re.compile(r"(https?://[^\s?'\")]+)\?[^\s'\")]+")
_LONGEST_NAME = 240  # bytes; file systems take 255, and the mirror's notes add to a name

# A path makes one slash of two, so that s3:/bucket is s3://bucket as well.
_ONE_SLASH = re.compile(rf"(?<![\w/])({'|'.join(PACKAGES)}):/(?=[^/\s])")
_ADDRESS = re.compile(rf"({'|'.join(PACKAGES)}):/{{1,3}}([^/].*)", re.DOTALL)


def is_remote_address(origin: str | Path) -> bool:
    """Whether a path or address is one of another file system, of a protocol of ``PACKAGES``."""
    return _ADDRESS.fullmatch(str(origin)) is not None


def mirrored(address: str | Path) -> Path:
    """The place of a remote file or folder in the mirror, whether it was fetched or not.

    Raises:
        RecordError: The address is not one of another file system, or leads out of it.
    """
    match = _ADDRESS.fullmatch(str(address))
    if match is None:
        raise RecordError(f"{address} is not an address such as s3://bucket/records.jsonl")
    parts = [part for part in match[2].split("/") if part not in ("", ".")]
    if ".." in parts:
        raise RecordError(f"{hide_secrets(str(address))} has '..' in it; write the address out")
    require_names(parts)
    return Path(mirror_root(), match[1], *parts)


def require_names(parts: Iterable[str]) -> None:
    """Make sure that files on this machine can have the names of a remote one and its folders.

    Raises:
        RecordError: One is too long.
    """
    for name in parts:
        if len(name.encode("utf-8", "replace")) > _LONGEST_NAME:
            raise RecordError(
                f"the remote name {hide_secrets(name[:40])}… has more than {_LONGEST_NAME} bytes, which files on this "
                "machine cannot have; give it a shorter name there"
            )


def hide_secrets(text: str) -> str:
    """A text whose addresses have no user and password, and no query, where signatures and tokens stand."""
    return _QUERY.sub(r"\1?…", _PASSWORD.sub(r"\1…@", text))


def address_of(path: Path) -> str:
    """The address of the remote file of which a path in the mirror is the place."""
    protocol, _, rest = os.path.relpath(path, mirror_root()).partition("/")
    return f"{protocol}://{rest}"


def name_addresses(text: str) -> str:
    """A text in which addresses stand as the user gave them, for places of the mirror and for ``s3:/bucket`` alike."""
    text = _ONE_SLASH.sub(r"\1://", text)
    if f"{mirror_root()}/" not in text:
        return text
    return hide_secrets(re.sub(rf"{re.escape(mirror_root())}/({'|'.join(PACKAGES)})/", r"\1://", text))


show_messages_by(name_addresses)


def is_mirrored(path: str | Path) -> bool:
    """Whether a path is that of a file or folder in the mirror."""
    text = str(path)
    return (os.path.normpath(text) if "/../" in text else text).startswith(f"{mirror_root()}/")


def place_of(folder: str | Path, name: str) -> Path:
    """The path of a file that a record names: relative to a folder, absolute, or an address.

    A name that begins with ``~`` is one in the folder and never the user's home, whoever expands paths later.
    """
    if "://" in name and is_remote_address(name):
        return mirrored(name)
    path = Path(folder, name)
    return Path.cwd() / path if str(path)[:1] == "~" and str(folder)[:1] != "~" else path


def share_file_system(one: Path, other: Path) -> bool:
    """Whether two paths are on this machine, or are places of files of one protocol."""
    return _protocol(one) == _protocol(other)


def _protocol(path: Path) -> str | None:
    return address_of(path).partition(":")[0] if is_mirrored(path) else None


def mirror_root() -> str:
    """The folder of the mirror: ``remote`` in ``FACEKIT_CACHE``, which is ``~/.cache/facekit`` by default."""
    return _real(os.environ.get(VARIABLE) or "~/.cache/facekit")


@lru_cache(maxsize=8)
def _real(cache: str) -> str:
    return os.path.realpath(Path(cache).expanduser() / "remote")
