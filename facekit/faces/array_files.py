"""``read_array``: one array of a ``.npy`` file; whatever else a file of that name holds is one kind of error."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Literal
from zipfile import BadZipFile

import numpy as np

__all__ = ["read_array"]

_FOREIGN = (ValueError, EOFError, BadZipFile, TokenError, SyntaxError, MemoryError)
"""What ``numpy.load`` raises of files that are damaged or of another kind; of a damaged length, ``MemoryError``."""


def read_array(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Read an array that ``numpy.save`` wrote.

    Args:
        path: The file.
        mmap_mode: ``r`` leaves the numbers in the file until they are used.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is damaged, holds objects, or is an archive of arrays.
    """
    try:
        found = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except _FOREIGN as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError("it is an archive of arrays; write one array with numpy.save")
    return found
