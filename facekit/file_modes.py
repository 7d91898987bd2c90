"""The modes of files and folders that were made privately first, so that others may read them as the umask says."""

from __future__ import annotations

import os
import threading

__all__ = ["new_file_mode", "new_folder_mode"]

_asking = threading.Lock()


def new_file_mode() -> int:
    """The mode that the process's umask gives to a new file, such as ``0o644``."""
    return 0o666 & ~_umask()


def new_folder_mode() -> int:
    """The mode that the process's umask gives to a new folder, such as ``0o755``."""
    return 0o777 & ~_umask()


def _umask() -> int:
    """The umask, which can only be read by setting it; what is made meanwhile is private, not open."""
    with _asking:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
