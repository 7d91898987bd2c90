"""How many processor cores this process may use: ``count_usable_cores``."""

from __future__ import annotations

import os


def count_usable_cores() -> int:
    """The cores that the system lets this process use, at least 1; all where it does not say (macOS, Windows)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
