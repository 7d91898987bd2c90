"""``open_record_file``: a file of records, open for reading; what is no such file is refused in one sentence.

What people name in its place is said by name: a dataset as ``name:folder``, a picture, a file that was saved as UTF-16.
"""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path
from typing import BinaryIO

from facekit.catalog import current_registry
from facekit.errors import RecordError
from facekit.faces.file_kinds import kind_of_name

__all__ = ["open_record_file", "read_text", "refuse_other_contents", "unopened"]

_TABLES = (".csv", ".tsv")
_OTHER_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def open_record_file(path: str | Path) -> BinaryIO:
    """Open a file of JSON lines behind the byte order mark that it may begin with.

    Args:
        path: The file.

    Raises:
        RecordError: It cannot be opened, is a picture or clip by its name, or is not UTF-8; or the path is the spec of
            a dataset.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise unopened(path, error) from error
    try:
        head = refuse_other_contents(path, file)
    except BaseException:
        file.close()
        raise
    file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
    return file


def read_text(path: Path, name: str) -> str:
    """Return the text of a user's file, without the byte order mark that editors of Windows begin it with.

    Args:
        path: The file.
        name: What messages call it, before the path.

    Raises:
        RecordError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordError(f"{name} {path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise RecordError(f"{name} {path} cannot be read ({error.strerror}); check the path") from error


def unopened(path: Path, error: OSError) -> RecordError:
    """Say why a records file cannot be opened, and what to do; for the spec of a dataset, how to make records of it."""
    name, colon, _ = str(path).partition(":")
    remedy = "check the path"
    if colon and name in current_registry().names("dataset"):
        remedy = f"it is a dataset, which becomes records by: facekit convert '{path}' records.jsonl"
    return RecordError(f"records file {path} cannot be opened ({error.strerror}); {remedy}")


def refuse_other_contents(path: Path, file: BinaryIO) -> bytes:
    """Read the first bytes of a file, and refuse it where they, or its name, say that it holds no JSON in UTF-8.

    Raises:
        RecordError: It does not.
    """
    kind = kind_of_name(path)
    if kind is not None:
        folder = shlex.quote(f"folder:{path.parent}")
        raise RecordError(f"{path} is a {kind}, not a file of records; for a folder of them write {folder}")
    if path.suffix.lower() in _TABLES:
        raise RecordError(f"{path} is a table, not a file of records; write {shlex.quote(f'csv:{path}')}")
    head = file.read(len(codecs.BOM_UTF8))
    encoding = _OTHER_ENCODINGS.get(head[:2])
    if encoding is not None:
        raise RecordError(f"{path} is not UTF-8 but {encoding} text; save it as UTF-8")
    return head
