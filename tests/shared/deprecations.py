"""Deprecations that a call of ours meets are errors; those of libraries among themselves are theirs to mend.

``warnings`` attributes a warning by a stack level that the library chose, mostly its own, and transformers only logs
much of what it deprecates. So both roads are watched, and the caller is read off the stack: the first frame outside the
package that warns and outside the standard library. Where that is ours, the warning gets ``PREFIX``, on which
``filterwarnings`` in pyproject.toml turns it into an error.
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

PREFIX = "a call of ours uses what is deprecated: "
CATEGORIES = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
LOGGING_LIBRARIES = frozenset({"transformers", "peft", "accelerate", "huggingface_hub"})
# Wrappers that warn in the name of what they wrap.
_WRAPPERS = sys.stdlib_module_names | {"typing_extensions"}
_ROOT = str(Path(__file__).parents[2])


def _package(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of this repository."""
    path = frame.f_code.co_filename
    return path.startswith(_ROOT) and "site-packages" not in path


def calls_from_here(frame: FrameType | None) -> bool:
    """Whether the code that warns in ``frame`` was called by code of this repository."""
    while frame is not None and _package(frame) in _WRAPPERS:
        frame = frame.f_back
    if frame is None:
        return False
    warner = _package(frame)
    while frame is not None and not is_ours(frame) and (_package(frame) == warner or _package(frame) in _WRAPPERS):
        frame = frame.f_back
    return frame is not None and is_ours(frame)


def watch() -> None:
    """Watch warnings and the libraries' logs from now on."""
    if hasattr(warnings.warn, "watched"):
        return
    warn, log = warnings.warn, logging.Logger.warning

    def watched_warn(
        message: str | Warning, category: type[Warning] | None = None, stacklevel: int = 1, *more: Any, **options: Any
    ) -> None:
        kind = type(message) if isinstance(message, Warning) else category or UserWarning
        if issubclass(kind, CATEGORIES) and calls_from_here(sys._getframe(1)):
            message, category = f"{PREFIX}{message}", kind
        warn(message, category, stacklevel + 1, *more, **options)

    def watched_log(self: logging.Logger, message: object, *values: Any, **options: Any) -> None:
        library = self.name.partition(".")[0]
        if library in LOGGING_LIBRARIES and "deprecat" in str(message).lower() and calls_from_here(sys._getframe(1)):
            warn(f"{PREFIX}{message}", FutureWarning, 2)
        log(self, message, *values, **{**options, "stacklevel": options.get("stacklevel", 1) + 1})

    watched_warn.watched = True
    warnings.warn, logging.Logger.warning = watched_warn, watched_log
