"""Sources of pictures and clips: files, web addresses, data URLs and bytes, read within bounds and briefly named."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, TypeAlias
from urllib.error import HTTPError
from urllib.parse import unquote, unquote_to_bytes, urlparse
from urllib.request import HTTPRedirectHandler, Request, build_opener, url2pathname

import numpy as np

from facekit._version import __version__
from facekit.errors import FaceKitError, ImageError, first_line
from facekit.remote.deadlines import cut_at, noting_handlers, seconds_left
from facekit.remote.mirror import LARGEST_FILE, require_here

FileSource: TypeAlias = str | Path | bytes
"""A path, a web address, a data URL, a ``file://`` address, or a file's content."""

LARGEST_PICTURE = 1 << 28
"""Bytes of a picture's file that is fetched from an address."""

LARGEST_VIDEO = LARGEST_FILE
"""Bytes of a video's file that is fetched from an address."""

FIRST_SECONDS = 30.0
"""How long a fetch may take beside the time for its bytes."""

SLOWEST_RATE = 1 << 20
"""Bytes a second at which a file of the largest size that is allowed must come; smaller ones may come more slowly."""

_WEB = ("http://", "https://")
_DATA, _FILE = "data:", "file:"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TIMEOUT_SECONDS = 30.0
_LONGEST_NAME = 200
_CHUNK = 1 << 20


def is_remote(source: object) -> bool:
    """Whether a source brings its content along or has it elsewhere: a web address, a data URL, or bytes."""
    if isinstance(source, str):
        return source[:8].lower().startswith((*_WEB, _DATA))
    return isinstance(source, bytes)


def describe_source(source: object) -> str:
    """Return what messages call a picture or clip, in one line of bounded length: its path where it has one."""
    if isinstance(source, bytes):
        return f"the given content ({len(source):,} bytes)"
    if isinstance(source, str) and source[:5].lower() == _DATA:
        return f"the data URL ({media_type(source) or 'of no type'}, {len(source):,} characters)"
    if not isinstance(source, (str, Path)):
        source, given = getattr(source, "filename", None), source
        if not isinstance(source, (str, Path)) or not str(source):
            return "the given array" if isinstance(given, np.ndarray) else "the given image"
    text = str(source)
    if len(text) > _LONGEST_NAME:
        return f"'{text[:40]}…' ({len(text):,} characters)"
    return f"'{text}'"


def media_type(data_url: str) -> str:
    """The media type that a data URL names, in lower case; empty where it names none."""
    return re.split("[;,]", data_url[len(_DATA) :][:100], maxsplit=1)[0].strip().lower()


def local_path(source: str | Path, error: type[ImageError] = ImageError) -> Path:
    """Return the path of a file that is there and not empty.

    Args:
        source: A path, or a ``file://`` address.
        error: What is raised.

    Raises:
        ImageError: There is no such file, or the address is of a kind that is not read.
    """
    name = describe_source(source)
    what = "picture" if error is ImageError else "video"
    if isinstance(source, str) and source[:5].lower() == _FILE:
        source = url2pathname(urlparse(source).path)
    elif isinstance(source, str) and _SCHEME.match(source):
        raise error(f"{name} is an address of a kind that is not read; give a path, or one that begins with https://")
    try:
        path = Path(source).expanduser()
        require_here(path, LARGEST_PICTURE if error is ImageError else LARGEST_VIDEO)
        status = path.stat() if path.exists() else None
    except (FaceKitError, OSError, ValueError, RuntimeError) as problem:
        if isinstance(problem, FaceKitError):
            raise error(first_line(problem)) from problem
        reason = getattr(problem, "strerror", None) or first_line(problem)
        raise error(f"{name} is no path of a file ({reason}); give a path, an address or a data URL") from problem
    if status is None:
        raise error(f"there is no file {name}; check the path")
    if not path.is_file():
        raise error(f"{name} is not a file; give the path of one {what}")
    if status.st_size == 0:
        raise error(f"{name} is empty (0 bytes); fetch or export it again")
    return path


def web_suffix(address: str) -> str:
    """The suffix of an address, such as ``.mp4``; empty where it is no address at all."""
    try:
        return Path(urlparse(address).path).suffix
    except ValueError:
        return ""


def copy_content(
    source: str | bytes, file: IO[bytes], *, largest: int = LARGEST_PICTURE, error: type[ImageError] = ImageError
) -> None:
    """Write what a web address or a data URL holds, or bytes, into a file.

    Args:
        source: One for which ``is_remote`` holds.
        file: Open for writing.
        largest: Most bytes.
        error: What is raised.

    Raises:
        ImageError: It cannot be fetched or decoded, is empty, or has more bytes.
    """
    name = describe_source(source)
    if isinstance(source, bytes) or source[:5].lower() == _DATA:
        content = source if isinstance(source, bytes) else _decode(source, name, error)
        chunks: Iterator[bytes] = iter([content])
    else:
        chunks = _fetch(source, name, error, FIRST_SECONDS + largest / SLOWEST_RATE)
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > largest:
            raise error(f"{name} has more than {largest:,} bytes; shrink it, or fetch it yourself and give its path")
        file.write(chunk)
    if not size:
        raise error(f"{name} is empty (0 bytes); fetch or export it again")


@contextmanager
def stored(source: FileSource, error: type[ImageError] = ImageError, largest: int = LARGEST_VIDEO) -> Iterator[Path]:
    """Give the path of a source's file; of one that is no file here, a copy for as long as the context lasts.

    Raises:
        ImageError: See ``local_path`` and ``copy_content``.
    """
    if isinstance(source, Path) or not is_remote(source):
        yield local_path(source, error)  # type: ignore[arg-type]  # bytes are remote
        return
    suffix = web_suffix(source) if isinstance(source, str) and source.startswith(_WEB) else ""
    with tempfile.TemporaryDirectory(prefix="facekit-") as folder:
        path = Path(folder) / f"content{suffix[:8]}"
        with path.open("wb") as file:
            copy_content(source, file, largest=largest, error=error)
        yield path


def _decode(data_url: str, name: str, error: type[ImageError]) -> bytes:
    head, comma, body = data_url.partition(",")
    if not comma:
        raise error(f"{name} has no comma between its type and its content; write data:image/png;base64,…")
    if not head.lower().rstrip().endswith(";base64"):
        return unquote_to_bytes(body)
    text = re.sub(r"\s", "", unquote(body) if "%" in body else body)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as problem:
        raise error(f"{name} is not valid base64 ({first_line(problem)}); encode the file again") from problem


class _WebOnly(HTTPRedirectHandler):
    """Follows from web addresses to web addresses alone."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not newurl.lower().startswith(_WEB):
            raise HTTPError(req.full_url, code, "redirected to an address that is not on the web", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(address: str, name: str, error: type[ImageError], seconds: float) -> Iterator[bytes]:
    deadline = time.monotonic() + seconds
    try:
        request = Request(address, headers={"User-Agent": f"facekit/{__version__}"})
        with cut_at(deadline) as sockets:
            opener = build_opener(_WebOnly, *noting_handlers(sockets))
            with opener.open(request, timeout=min(_TIMEOUT_SECONDS, seconds)) as response:
                while chunk := response.read1(_CHUNK):
                    yield chunk
                seconds_left(deadline)
                if response.length:
                    raise OSError(f"the connection ended {response.length:,} bytes too early")
    except (OSError, HTTPException, ValueError) as problem:
        if time.monotonic() >= deadline:
            raise error(
                f"{name} did not come within {seconds:,.0f} seconds; fetch it yourself and give its path"
            ) from problem
        raise error(f"{name} cannot be fetched ({first_line(problem)}); check the address") from problem
