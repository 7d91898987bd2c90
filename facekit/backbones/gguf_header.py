"""``read_gguf_header``: what a GGUF file says before its weights, without its vocabulary.

gguf's own reader makes objects of every token, which takes seconds; transformers has read them once already.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

_FORMATS = dict(zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True))
_TEXT, _ARRAY, _FLOAT32 = 8, 9, 0
_VERSIONS = (2, 3)


class GgufHeader(NamedTuple):
    """What ``read_gguf_header`` returns.

    Attributes:
        values: Numbers and texts by their keys; lists are left out.
        tensors: Type, number of elements and place in the file of each tensor, by its name.
        file: The file.
    """

    values: dict[str, Any]
    tensors: dict[str, tuple[int, int, int]]
    file: Path

    def read_floats(self, name: str) -> list[float]:
        """Return a tensor of float32.

        Raises:
            ValueError: It is of another type, or the file ends before it.
        """
        kind, count, place = self.tensors[name]
        with self.file.open("rb") as opened:
            opened.seek(place)
            content = opened.read(4 * count) if kind == _FLOAT32 else b""
        if len(content) != 4 * count:
            raise ValueError(f"'{name}' is no tensor of float32, or cut off")
        return list(struct.unpack(f"<{count}f", content))


def read_gguf_header(file: Path) -> GgufHeader:
    """Read a file's keys and the list of its tensors.

    Raises:
        ValueError: It is of another version, damaged or cut off.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        cursor = _Cursor(content)
        try:
            return _read(cursor, file)
        except struct.error as error:
            raise ValueError(f"it ends within its header, at byte {cursor.place}") from error


def _read(cursor: _Cursor, file: Path) -> GgufHeader:
    _, version, tensors, keys = cursor.take("IIQQ")
    if version not in _VERSIONS:
        raise ValueError(f"it has version {version} of GGUF")
    values = {}
    for _ in range(keys):
        name, (kind,) = cursor.text(), cursor.take("I")
        value = cursor.value(kind)
        if value is not None:
            values[name] = value
    found = {}
    for _ in range(tensors):
        name, (dimensions,) = cursor.text(), cursor.take("I")
        if dimensions > 8:
            raise ValueError(f"'{name}' has {dimensions} dimensions")
        count = 1
        for size in cursor.take(f"{dimensions}Q"):
            count *= size
        found[name] = (*cursor.take("I"), count, *cursor.take("Q"))
    alignment = int(values.get("general.alignment", 32)) or 1
    begin = -(-cursor.place // alignment) * alignment
    places = {name: (kind, count, begin + offset) for name, (kind, count, offset) in found.items()}
    return GgufHeader(values, places, file)


class _Cursor:
    """Reads the file from its beginning."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.place = content, 0

    def take(self, format: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{format}", self.content, self.place)
        self.place += struct.calcsize(f"<{format}")
        return values

    def text(self) -> str:
        (length,) = self.take("Q")
        begin = self.place
        self.place += length
        if self.place > len(self.content):
            raise ValueError("it ends within a text of its header")
        return self.content[begin : self.place].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A number or text; None for a list, which is passed over."""
        if kind == _TEXT:
            return self.text()
        if kind in _FORMATS:
            return self.take(_FORMATS[kind])[0]
        if kind != _ARRAY:
            raise ValueError(f"its header has a value of the unknown type {kind}")
        inner, count = self.take("IQ")
        if inner == _TEXT:
            for _ in range(count):
                (length,) = self.take("Q")
                self.place += length
        elif inner in _FORMATS:
            self.place += count * struct.calcsize(_FORMATS[inner])
        else:
            raise ValueError(f"its header has a list of the unknown type {inner}")
        return None
