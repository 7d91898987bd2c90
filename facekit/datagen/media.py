"""Pictures as they are sent: decoded safely, shrunk to a bound, encoded as JPEG without metadata, once per record."""

from __future__ import annotations

import asyncio
import base64
import io
from collections import OrderedDict
from collections.abc import Sequence

from PIL import Image

from facekit.datagen.calls import PermanentCallError
from facekit.errors import ConfigurationError, ImageError
from facekit.faces.images import open_image

JPEG_QUALITY = 90
SMALLEST_SIDE, LARGEST_SIDE = 32, 4096
_KEPT = 1024


def encode_picture(path: str, image_side: int) -> bytes:
    """A picture as JPEG bytes whose longer side is at most ``image_side`` pixels; smaller ones keep their size.

    Args:
        path: The picture.
        image_side: Pixels.

    Raises:
        ImageError: If the picture cannot be read.
        ConfigurationError: If the size is out of range.
    """
    check_image_side(image_side)
    image = open_image(path)
    if max(image.size) > image_side:
        image.thumbnail((image_side, image_side), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def check_image_side(image_side: int) -> None:
    """Raise ``ConfigurationError`` for a size at which no picture is sent."""
    if not SMALLEST_SIDE <= image_side <= LARGEST_SIDE:
        raise ConfigurationError(
            f"image_side={image_side} is out of range; use {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"
        )


class MediaEncoder:
    """Data URLs of pictures; calls about one record share the work, which is done beside the event loop."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[tuple[tuple[str, ...], int], asyncio.Task[tuple[str, ...]]] = OrderedDict()

    def begin(self, paths: Sequence[str], image_side: int) -> asyncio.Task[tuple[str, ...]]:
        """Begin to encode, or find what was begun before."""
        place = (tuple(paths), image_side)
        task = self._tasks.get(place)
        if task is None or task.cancelled():
            task = self._tasks[place] = asyncio.ensure_future(asyncio.to_thread(_data_urls, *place))
            task.add_done_callback(_look_at)
            while len(self._tasks) > _KEPT:
                self._tasks.popitem(last=False)
        return task

    async def data_urls(self, paths: Sequence[str], image_side: int) -> tuple[str, ...]:
        """One ``data:image/jpeg;base64,…`` per picture, in order.

        Raises:
            PermanentCallError: If a picture cannot be read.
        """
        try:
            return await asyncio.shield(self.begin(paths, image_side))
        except ImageError as error:
            raise PermanentCallError(f"the picture cannot be used: {error}") from error


def _look_at(task: asyncio.Task[tuple[str, ...]]) -> None:
    """Mark an error as seen: whoever awaits the task gets it, and after a stop nobody does."""
    if not task.cancelled():
        task.exception()


def _data_urls(paths: tuple[str, ...], image_side: int) -> tuple[str, ...]:
    encoded = (base64.b64encode(encode_picture(path, image_side)).decode("ascii") for path in paths)
    return tuple(f"data:image/jpeg;base64,{text}" for text in encoded)
