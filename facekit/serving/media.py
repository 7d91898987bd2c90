"""Pictures and clips of requests: data URLs decoded, addresses of allowed hosts fetched, all within bounds."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from facekit.errors import ImageError
from facekit.faces.images import open_image
from facekit.faces.sources import describe_source
from facekit.serving.addresses import fetch
from facekit.serving.request_error import RequestError
from facekit.serving.settings import ServerSettings

_DATA_URL = re.compile(r"data:(image|video)/([a-z0-9.+-]{1,40});base64,", re.IGNORECASE)
_VIDEO_SUFFIXES = {"mp4": ".mp4", "webm": ".webm", "quicktime": ".mov", "x-matroska": ".mkv", "mpeg": ".mpg"}


def read_bytes(url: str, kind: str, settings: ServerSettings) -> tuple[bytes, str]:
    """Return the bytes behind an address, and the subtype that it claims ("" where it claims none).

    Args:
        url: A data URL, or an http(s) address of an allowed host.
        kind: ``image`` or ``video``.
        settings: Who may be asked, and how much is taken.

    Raises:
        RequestError: It is neither, or what it holds is too large or no base64.
    """
    head = _DATA_URL.match(url)
    if head is None:
        if url[:5].lower() == "data:":
            raise RequestError(
                400, f"a data URL of {kind}s begins with data:{kind}/TYPE;base64,", code="invalid_data_url"
            )
        return fetch(url, settings.allow_hosts, max_bytes=settings.max_body_bytes), ""
    if head[1].lower() != kind:
        raise RequestError(400, f"a {kind} was expected, and the data URL is of type {head[1].lower()}/{head[2]}")
    try:
        return base64.b64decode(url[head.end() :], validate=True), head[2].lower()
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            400, "the data URL holds no valid base64; encode the file again", code="invalid_data_url"
        ) from error


def open_picture(content: bytes, name: str, max_pixels: int) -> Image.Image:
    """Open the bytes of a picture as ``facekit.faces.open_image`` does; the name is what messages call it.

    Raises:
        ImageError: It is none, damaged, or larger than ``max_pixels``.
    """
    try:
        return open_image(content, max_pixels=max_pixels)
    except ImageError as error:
        raise ImageError(str(error).replace(describe_source(content), name)) from error


@contextmanager
def clip_file(content: bytes, subtype: str) -> Iterator[Path]:
    """The bytes of a clip as a file, for as long as the block lasts."""
    with tempfile.NamedTemporaryFile(suffix=_VIDEO_SUFFIXES.get(subtype, ".mp4")) as file:
        file.write(content)
        file.flush()
        yield Path(file.name)
