"""Streaming a JSON list, or JSON lines, object by object, in bounded memory."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facekit.data.record_files import refuse_other_contents
from facekit.errors import RecordError, first_line

__all__ = ["iterate_json_objects"]

_CHUNK = 1 << 20
_LARGEST_OBJECT = 64 << 20
_SPACE = re.compile(r"[\s,]*")


def iterate_json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON list, or of a file with one object after the other, with their numbers from 1.

    Raises:
        RecordError: The file cannot be opened, is not such JSON, or ends in the middle; the message has the entry.
    """
    try:
        with path.open("rb") as file:
            refuse_other_contents(path, file)
            file.seek(0)
            yield from _objects(io.TextIOWrapper(file, encoding="utf-8-sig"), path)
    except OSError as error:
        raise RecordError(f"{path} cannot be opened ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise RecordError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _objects(file: Any, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    decoder = json.JSONDecoder()
    text, number, listed, closed, more = "", 0, None, False, True
    while more:
        chunk = file.read(_CHUNK)
        more = bool(chunk)
        text, index = text + chunk, 0
        if listed is None and text.strip():
            listed = text.lstrip().startswith("[")
            index = text.index("[") + 1 if listed else 0
        while True:
            index = _skip(text, index)
            if index == len(text):
                break
            if listed and text[index] == "]":
                closed, index = True, index + 1
                continue
            if closed or text[index] != "{":
                shown = text[index : index + 20]
                raise RecordError(f"{path}, entry {number + 1}: an object is expected, not {shown!r}")
            try:
                value, index = decoder.raw_decode(text, index)
            except json.JSONDecodeError as error:
                if not more or len(text) - index > _LARGEST_OBJECT:
                    raise RecordError(f"{path}, entry {number + 1}: not JSON, or cut off ({error.msg})") from error
                break
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, or lists in lists
                reason = first_line(error)
                raise RecordError(f"{path}, entry {number + 1}: not JSON that can be read ({reason})") from error
            number += 1
            yield number, value
        text = text[index:]
    if listed and not closed:
        raise RecordError(f"{path} ends after entry {number} without the closing ']'; fetch or export it again")


def _skip(text: str, index: int) -> int:
    match = _SPACE.match(text, index)
    return match.end() if match else index
