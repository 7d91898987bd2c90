"""Pictures and clips of requests: data URLs decoded, addresses of allowed hosts fetched, all within bounds."""

from __future__ import annotations

import base64
import binascii
import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from facekit.errors import ImageError
from facekit.faces.images import FILE_FORMATS
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
    """Open the bytes of a picture; the name is what messages call it.

    Raises:
        ImageError: It is none, damaged, or larger than ``max_pixels``.
    """
    Image.init()
    try:
        picture = Image.open(io.BytesIO(content), formats=[kind for kind in FILE_FORMATS if kind in Image.OPEN])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large to decode; shrink it below {max_pixels:,} pixels") from error
    except (OSError, SyntaxError, ValueError, TypeError) as error:
        raise ImageError(f"{name} is not a picture of a known format; send PNG, JPEG or WebP") from error
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageError(f"{name} has {width} x {height} pixels; shrink it below {max_pixels:,}")
    return picture


@contextmanager
def clip_file(content: bytes, subtype: str) -> Iterator[Path]:
    """The bytes of a clip as a file, for as long as the block lasts."""
    with tempfile.NamedTemporaryFile(suffix=_VIDEO_SUFFIXES.get(subtype, ".mp4")) as file:
        file.write(content)
        file.flush()
        yield Path(file.name)
