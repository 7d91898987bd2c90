"""facekit's exceptions, and the guard that turns other libraries' exceptions into them.

The command line catches one base class. Each message is one sentence that says what was wrong, where, and what to do.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_rewriters: list[Callable[[str], str]] = []


def show_messages_by(rewrite: Callable[[str], str]) -> None:
    """Have the message of every error of facekit go through a function when it is read."""
    _rewriters.append(rewrite)


class FaceKitError(Exception):
    """Base of all errors that a user can act on; the command line prints it as one line and exits with status 2."""

    def __str__(self) -> str:
        """The message, with what the user gave in place of what stands for it here; see ``show_messages_by``."""
        message = super().__str__()
        for rewrite in _rewriters:
            message = rewrite(message)
        return message


class UnknownPartError(FaceKitError, LookupError):
    """A registry has no part of that kind under that name."""


class InvalidSpecError(FaceKitError, ValueError):
    """A spec string, or an argument or option inside it, cannot be used."""


class MissingExtraError(FaceKitError, ImportError):
    """A part needs packages that are not installed; the message has the install command."""


class ConfigurationError(FaceKitError, ValueError):
    """Settings that do not fit each other, or a value out of its range."""


class ImageError(FaceKitError, ValueError):
    """A file or array cannot be used as an image: not one, truncated, too large, an unsupported kind."""


class VideoError(ImageError):
    """A file cannot be used as a video: not one, truncated, without frames or pictures, too large or too long."""


class FaceNotFoundError(FaceKitError, ValueError):
    """A face was needed and none was found."""


class RecordError(FaceKitError, ValueError):
    """A data record or a records file is malformed; the message has the file and the line."""


class CheckpointError(FaceKitError, ValueError):
    """A checkpoint is missing, incomplete, or of a format that this loader does not read."""


class TrainingError(FaceKitError, RuntimeError):
    """A training run cannot go on; what it saved before is kept."""


class EngineError(FaceKitError, RuntimeError):
    """An engine that answers elsewhere, such as vLLM, has failed as a whole; what it answered before is kept."""


class StorageError(FaceKitError):
    """The disk is full, or another program holds a file; what was stored before is kept."""


class OutputError(StorageError, OSError):
    """Results cannot be written: a folder is read-only or cannot be made, or the disk is full.

    Args:
        story: What cannot be written, and where.
        reason: Why, in the system's words.
        remedy: What to do.
    """

    def __init__(self, story: str, reason: str, remedy: str) -> None:
        super().__init__(f"{story} ({reason}); {remedy}")
        self.reason = reason
        self.remedy = remedy
        self._parts = story, reason, remedy

    def __reduce__(self) -> tuple[type[OutputError], tuple[str, str, str]]:
        """How worker processes hand it over."""
        return type(self), self._parts


class RemoteFileError(StorageError, OSError):
    """A file on another file system is not there, or cannot be read or written.

    Args:
        message: Which file, why, and what to do.
        code: The ``errno``: ``ENOENT`` for one that is not there, by default that of a failed transfer.
    """

    def __init__(self, message: str, code: int = errno.EIO) -> None:
        super().__init__(message)
        self.errno = code

    def __reduce__(self) -> tuple[type[RemoteFileError], tuple[str, int]]:
        """How worker processes hand it over."""
        return type(self), (str(self.args[0]), self.errno or errno.EIO)


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a training run.

    Args:
        saved: What is kept of it.
        remedy: How to go on.
    """

    def __init__(self, saved: str, remedy: str) -> None:
        super().__init__(f"{saved}; {remedy}")
        self.saved = saved
        self._remedy = remedy

    def __reduce__(self) -> tuple[type[TrainingInterrupted], tuple[str, str]]:
        """How worker processes hand it over."""
        return type(self), (self.saved, self._remedy)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, and the next after a colon; or the name of its class."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def yaml_fault(error: BaseException) -> str:
    """Return the line of a YAML file that cannot be read and what is wrong there; of other errors the first line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if getattr(error, "context", None) == "while scanning a simple key":  # found missing on a later line
        mark = getattr(error, "context_mark", mark)
    return first_line(error) if mark is None or problem is None else f"line {mark.line + 1}: {problem}"


@contextmanager
def configuration_guard(kind: type[FaceKitError], message: str, *others: type[Exception]) -> Iterator[None]:
    """Turn what other libraries raise about a configuration or a checkpoint into one sentence.

    Covered are the exceptions of transformers where a configuration lacks a value or has one of a wrong type, and those
    of missing files. Errors of facekit pass through.

    Args:
        kind: The error to raise.
        message: What went wrong, such as ``"the tokenizer in 'folder' cannot be loaded"``; after a colon comes the
            first line of the exception.
        others: Further exceptions to turn into ``kind``.

    Raises:
        FaceKitError: Of the given kind.
    """
    try:
        yield
    except FaceKitError:
        raise
    except (*_configuration_faults(), *others) as error:
        raise kind(f"{message}: {first_line(error)}") from error


def _configuration_faults() -> tuple[type[Exception], ...]:
    """What transformers raises; huggingface_hub's share only where it is loaded, as it must be to raise it."""
    hub = sys.modules.get("huggingface_hub.errors")
    strict = getattr(hub, "StrictDataclassError", None)
    deep = RecursionError  # JSON nested by the thousand
    return (OSError, ValueError, KeyError, TypeError, AttributeError, deep, *([strict] if strict else []))
