"""Opening a file system by fsspec, with its errors in one sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from facekit.errors import FaceKitError, MissingExtraError, RemoteFileError, first_line
from facekit.remote.addresses import PACKAGES, hide_secrets

__all__ = ["explained_remote", "open_file_system", "says_absent"]

_GONE = (404, 410)
_GUIDE = "check the address and your credentials"


def open_file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and its path there.

    Options such as an endpoint or anonymous access come from fsspec's own configuration: ``FSSPEC_S3_ENDPOINT_URL``,
    ``FSSPEC_S3_ANON``, or files in ``~/.config/fsspec``.

    Raises:
        MissingExtraError: Its package is not installed; the message names it.
        RemoteFileError: It cannot be opened.
    """
    import fsspec

    protocol = address.partition("://")[0]
    with explained_remote(address):
        try:
            file_system, path = fsspec.core.url_to_fs(address)
        except ImportError as error:
            package = PACKAGES[protocol] or "fsspec"
            raise MissingExtraError(
                f"{hide_secrets(address)} needs the package {package}, which is not installed; pip install {package}"
            ) from error
    return file_system, path


@contextmanager
def explained_remote(address: str, verb: str = "read") -> Iterator[None]:
    """Turn what a file system raises into ``RemoteFileError``: which file, why, and what to do."""
    shown = hide_secrets(address)
    try:
        yield
    except FaceKitError:
        raise
    except FileNotFoundError as error:
        if not says_absent(error):
            reason = _reason(error.__cause__ or error)
            raise RemoteFileError(f"{shown} cannot be {verb} ({reason}); {_GUIDE}") from error
        raise RemoteFileError(f"there is no file or folder {shown}; {_GUIDE}", errno.ENOENT) from error
    except Exception as error:  # drivers raise whatever their clients do
        raise RemoteFileError(f"{shown} cannot be {verb} ({_reason(error)}); {_GUIDE}") from error


def says_absent(error: FileNotFoundError) -> bool:
    """Whether a file system says that there is no file, rather than that its server gave no answer."""
    cause = error.__cause__
    return cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in _GONE


def _reason(error: BaseException) -> str:
    return hide_secrets(first_line(error)) or type(error).__name__
