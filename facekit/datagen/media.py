"""Pictures as they are sent: decoded safely, shrunk to a bound, encoded as JPEG without metadata, once per record."""

from __future__ import annotations

import asyncio
import base64
import io
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from facekit.datagen.calls import PermanentCallError, Request
from facekit.errors import ConfigurationError, ImageError, VideoError
from facekit.faces.images import open_image
from facekit.faces.video import read_clip

JPEG_QUALITY = 90
SMALLEST_SIDE, LARGEST_SIDE = 32, 4096
_KEPT = 1024

_START, _END, _MARK, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xFF, 0xDA
_JFIF, _JFIF_LENGTH = 0xE0, 16  # longer with a thumbnail
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_PICTURE_SEGMENTS = _FRAMES | {_JFIF, 0xDB, 0xC4, 0xDD}
"""Frame header, JFIF header, quantisation and Huffman tables, restart interval (ITU-T T.81, table B.1)."""


def encode_picture(path: str, image_side: int) -> bytes:
    """A picture as JPEG bytes whose longer side is at most ``image_side`` pixels; smaller ones keep their size.

    A file that is such a JPEG already, with nothing in it but the picture, is taken as it is.

    Args:
        path: The picture.
        image_side: Pixels.

    Raises:
        ImageError: If the picture cannot be read.
        ConfigurationError: If the size is out of range.
    """
    check_image_side(image_side)
    return _as_it_is(Path(path).expanduser(), image_side) or _to_jpeg(open_image(path), image_side)


def _as_it_is(path: Path, image_side: int) -> bytes | None:
    """The bytes of a file that can be sent unchanged, or None; its entropy-coded data are read, its pixels are not."""
    try:
        content = path.read_bytes()
        if not is_bare_jpeg(content):
            return None
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if max(image.size) > image_side:
                return None
            image.draft("RGB", (1, 1))
            image.load()
    except (OSError, SyntaxError, ValueError):
        return None  # opening it as any picture says what is wrong with it
    return content


def is_bare_jpeg(content: bytes) -> bool:
    """Whether bytes are a JPEG in colour without metadata, colour profile, comment, or anything behind its end.

    Args:
        content: The bytes of a file that decodes as a picture.
    """
    if not content.startswith(_START):
        return False
    place, is_colour = len(_START), False
    while place + 4 <= len(content) and content[place] == _MARK:
        kind, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if kind == _SCAN:
            return is_colour and content.find(_END, place) == len(content) - len(_END)
        if kind not in _PICTURE_SEGMENTS or (kind == _JFIF and length != _JFIF_LENGTH):
            return False
        if kind in _FRAMES:
            is_colour = place + 9 < len(content) and content[place + 9] == 3
        place += 2 + length
    return False


def _to_jpeg(image: Image.Image, image_side: int) -> bytes:
    if max(image.size) > image_side:
        image.thumbnail((image_side, image_side), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY, comment=b"")  # Pillow keeps the comment of the original
    return encoded.getvalue()


def check_image_side(image_side: int) -> None:
    """Raise ``ConfigurationError`` for a size at which no picture is sent."""
    if not SMALLEST_SIDE <= image_side <= LARGEST_SIDE:
        raise ConfigurationError(
            f"image_side={image_side} is out of range; use {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"
        )


def encode_media(request: Request) -> list[bytes]:
    """The pictures of a request, or the frames of its clip, as JPEG bytes.

    Raises:
        ImageError: If a picture cannot be read.
        VideoError: If the video file cannot be read.
        MissingExtraError: If there is a video file and PyAV is not installed.
    """
    if request.clip is None:
        return [encode_picture(path, request.image_side) for path in request.media]
    check_image_side(request.image_side)
    clip = read_clip(request.media[0], request.clip.count, among=request.clip.among)
    frames = dict(zip(clip.indices, clip.frames, strict=True))  # a file with fewer frames repeats some
    return [_to_jpeg(frame, request.image_side) for frame in frames.values()]


class MediaEncoder:
    """Data URLs of pictures; calls about one record share the work, which is done beside the event loop."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[tuple[object, ...], asyncio.Task[tuple[str, ...]]] = OrderedDict()

    def begin(self, request: Request) -> asyncio.Task[tuple[str, ...]]:
        """Begin to encode, or find what was begun before."""
        place = (request.media, request.image_side, request.clip)
        task = self._tasks.get(place)
        if task is None or task.cancelled():
            task = self._tasks[place] = asyncio.ensure_future(asyncio.to_thread(_data_urls, request))
            task.add_done_callback(_look_at)
            while len(self._tasks) > _KEPT:
                self._tasks.popitem(last=False)
        return task

    async def data_urls(self, request: Request) -> tuple[str, ...]:
        """One ``data:image/jpeg;base64,…`` per picture, in order.

        Raises:
            PermanentCallError: If a picture or video cannot be read.
        """
        task = self.begin(request)
        try:
            return task.result() if task.done() else await asyncio.shield(task)
        except (ImageError, VideoError) as error:
            raise PermanentCallError(f"the picture cannot be used: {error}") from error


def _look_at(task: asyncio.Task[tuple[str, ...]]) -> None:
    """Mark an error as seen: whoever awaits the task gets it, and after a stop nobody does."""
    if not task.cancelled():
        task.exception()


def _data_urls(request: Request) -> tuple[str, ...]:
    encoded = (base64.b64encode(content).decode("ascii") for content in encode_media(request))
    return tuple(f"data:image/jpeg;base64,{text}" for text in encoded)
