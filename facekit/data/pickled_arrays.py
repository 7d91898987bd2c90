"""``read_pickled``: an object that numpy pickled into an ``.npz`` file, without running what is in the file.

Unpickling runs whatever a file names. Here only numpy's arrays, numbers and plain containers come out of one; a file
that names anything else is refused.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import RecordError

_ALLOWED = {
    ("collections", "OrderedDict"), ("numpy", "dtype"), ("numpy", "ndarray"),
    *((module, name) for module in ("numpy.core.multiarray", "numpy._core.multiarray")
      for name in ("_reconstruct", "scalar")),
}  # fmt: skip

_LARGEST = 256 << 20
_FAULTS = (
    OSError, zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError, KeyError, ValueError, EOFError,
    AttributeError, TypeError, IndexError, RuntimeError, OverflowError, MemoryError,
)  # fmt: skip
"""What a damaged or hostile file raises; ``RuntimeError`` for an encrypted one, a strange compression, a deep nest."""


def read_pickled(path: str | Path, name: str) -> Any:
    """Read one object, such as a dictionary, of an ``.npz`` file.

    Args:
        path: The file.
        name: Its name in the file.

    Raises:
        RecordError: The file cannot be read, has nothing of that name, or holds something else than plain data.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            file = io.BytesIO(member.read(_LARGEST + 1))
        if file.getbuffer().nbytes > _LARGEST:
            raise ValueError(f"'{name}' has more than {_LARGEST >> 20} MiB")
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read_header(file)
        if not kind.hasobject or shape != ():
            raise ValueError(f"'{name}' is no object")
        return _PlainUnpickler(file).load().item()
    except _FAULTS as error:
        raise RecordError(f"{path} cannot be read as an .npz file with '{name}' ({error})") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain data")
        return super().find_class(module, name)
