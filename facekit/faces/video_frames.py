"""Single frames of a video file: opened and indexed once, and decoded in one pass where they are asked for in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from facekit.counted import counted
from facekit.errors import VideoError
from facekit.faces.images import MAX_PIXELS
from facekit.faces.sources import describe_source, local_path
from facekit.faces.video import MAX_FRAMES, MAX_SECONDS, decode_frames, read_index

__all__ = ["VideoFrames"]


class VideoFrames:
    """The frames of one video file, by number.

    Frames that are asked for in ascending order are decoded in one pass; asking for an earlier one seeks it anew.

    Args:
        path: The file; not an animated picture.
        max_pixels: The largest width times height of a frame.

    Raises:
        VideoError: The file is missing, no video, damaged, cut off, or beyond a bound of ``read_clip``.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, path: str | Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self.path = local_path(path, VideoError)
        self._name = describe_source(self.path)
        self._max_pixels = max_pixels
        self._index = read_index(self.path, self._name, max_pixels, MAX_FRAMES, MAX_SECONDS)
        self._asked: deque[int] = deque()
        self._pass: Iterator[Image.Image] | None = None
        self._last: tuple[int, Image.Image] | None = None

    def __len__(self) -> int:
        return self._index.total

    def read(self, number: int) -> Image.Image:
        """Return the frame of that number, from 0, as an upright RGB image.

        Raises:
            VideoError: There is no such frame, or it cannot be decoded.
        """
        if not 0 <= number < len(self):
            raise VideoError(
                f"{self._name} has {counted(len(self), 'frame')}, so none at index {number}, counted from 0"
            )
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        if self._pass is None or self._last is None or number < self._last[0] or self._index.times is None:
            self.close()
            wanted = [number] if self._index.times is None else iter(self._asked.popleft, None)
            self._pass = decode_frames(self.path, self._name, self._index, wanted, self._max_pixels)
        self._asked.append(number)
        try:
            image = next(self._pass)
        except BaseException:
            self.close()
            raise
        self._last = (number, image)
        return image

    def close(self) -> None:
        """Close the file; it is opened again when a frame is asked for."""
        self._asked.clear()
        self._pass = self._last = None
