"""Pictures in requests: JPEG without metadata, of bounded size, and their data URLs, encoded once."""

from __future__ import annotations

import asyncio
import base64
import io
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from facekit.endpoints.requests import Media, PermanentCallError
from facekit.errors import ConfigurationError, FaceKitError, ImageError, RecordError
from facekit.remote.mirror import require_here

JPEG_QUALITY = 90
SMALLEST_SIDE, LARGEST_SIDE = 32, 4096
_KEPT = 1024

_START, _END, _MARK, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xFF, 0xDA
_JFIF, _JFIF_LENGTH = 0xE0, 16  # longer with a thumbnail
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_PICTURE_SEGMENTS = _FRAMES | {_JFIF, 0xDB, 0xC4, 0xDD}
"""Frame header, JFIF header, quantisation and Huffman tables, restart interval (ITU-T T.81, table B.1)."""


def bare_jpeg(path: Path, image_side: int) -> bytes | None:
    """The bytes of a file that can be sent unchanged: a JPEG within the bound with nothing in it but the picture.

    Its entropy-coded data are read, its pixels are not.

    Args:
        path: The file.
        image_side: Longest side, in pixels.

    Returns:
        The bytes, or None where the picture must be encoded anew, also where the file cannot be read.
    """
    try:
        require_here(path)
        content = path.read_bytes()
        if not is_bare_jpeg(content):
            return None
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if max(image.size) > image_side:
                return None
            image.draft("RGB", (1, 1))
            image.load()
    except (FaceKitError, OSError, SyntaxError, ValueError):
        return None  # opening it as any picture says what is wrong with it
    return content


def is_bare_jpeg(content: bytes) -> bool:
    """Whether bytes are a JPEG in colour without metadata, colour profile, comment, or anything behind its end.

    Args:
        content: The bytes of a file that decodes as a picture.
    """
    if not content.startswith(_START):
        return False
    index, is_colour = len(_START), False
    while index + 4 <= len(content) and content[index] == _MARK:
        kind, length = content[index + 1], int.from_bytes(content[index + 2 : index + 4], "big")
        if kind == _SCAN:
            return is_colour and content.find(_END, index) == len(content) - len(_END)
        if kind not in _PICTURE_SEGMENTS or (kind == _JFIF and length != _JFIF_LENGTH):
            return False
        if kind in _FRAMES:
            is_colour = index + 9 < len(content) and content[index + 9] == 3
        index += 2 + length
    return False


def encode_jpeg(image: Image.Image, image_side: int | None = None, quality: int = JPEG_QUALITY) -> bytes:
    """A picture as a JPEG file without metadata.

    Args:
        image: The picture in RGB.
        image_side: Longest side in pixels, to which a larger picture is shrunk; None keeps any size.
        quality: Of the JPEG, 1 to 95.
    """
    if image_side is not None and max(image.size) > image_side:
        image = image.copy()
        image.thumbnail((image_side, image_side), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=quality, comment=b"")  # Pillow keeps the comment of the original
    return encoded.getvalue()


def check_image_side(image_side: int) -> None:
    """Raise ``ConfigurationError`` for a size at which no picture is sent."""
    if not SMALLEST_SIDE <= image_side <= LARGEST_SIDE:
        raise ConfigurationError(
            f"image_side={image_side} is out of range; use {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"
        )


def data_url(jpeg: bytes) -> str:
    """``data:image/jpeg;base64,…`` of a JPEG file."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


class MediaEncoder:
    """Data URLs of pictures; calls about the same pictures share the work, which is done beside the event loop."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[Media, asyncio.Task[tuple[str, ...]]] = OrderedDict()

    def begin(self, media: Media) -> asyncio.Task[tuple[str, ...]]:
        """Begin to encode, or find what was begun before."""
        task = self._tasks.get(media)
        if task is None or task.cancelled():
            task = self._tasks[media] = asyncio.ensure_future(asyncio.to_thread(_data_urls, media))
            task.add_done_callback(_look_at)
            while len(self._tasks) > _KEPT:
                self._tasks.popitem(last=False)
        return task

    async def data_urls(self, media: Media | None) -> tuple[str, ...]:
        """One ``data:image/jpeg;base64,…`` per picture, in order; none for text alone.

        Raises:
            PermanentCallError: If a picture or video cannot be read.
        """
        if media is None:
            return ()
        task = self.begin(media)
        try:
            return task.result() if task.done() else await asyncio.shield(task)
        except (ImageError, RecordError) as error:
            raise PermanentCallError(f"the picture cannot be used: {error}") from error


def _look_at(task: asyncio.Task[tuple[str, ...]]) -> None:
    """Mark an error as seen: whoever awaits the task gets it, and after a stop nobody does."""
    if not task.cancelled():
        task.exception()


def _data_urls(media: Media) -> tuple[str, ...]:
    return tuple(data_url(content) for content in media.encode())
