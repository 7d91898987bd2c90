"""Records of one frame of a video file, which are pictures: a video is decoded once for all that follow each other."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from facekit.data.marks import MARKS
from facekit.data.records import FaceRecord
from facekit.errors import FaceKitError
from facekit.faces.animations import animation_format
from facekit.faces.video import read_clip
from facekit.faces.video_frames import VideoFrames


def is_picture_of_video(record: FaceRecord) -> bool:
    """Whether a record is about a single frame of a video file, and no turn of it speaks of a clip."""
    if not isinstance(record.video, str) or record.frames is None or len(record.frames) != 1:
        return False
    return not any(MARKS["video"] in turn.content for turn in record.conversations)


class FrameReader:
    """Reads the frames of records, one video open at a time.

    Args:
        folder: The folder that the records' paths are relative to.
        max_pixels: The largest width times height of a frame.
    """

    def __init__(self, folder: Path, max_pixels: int) -> None:
        self._folder = folder
        self._max_pixels = max_pixels
        self._path: Path | None = None
        self._video: VideoFrames | FaceKitError | None = None

    def read(self, record: FaceRecord) -> Image.Image:
        """Return the frame of a record for which ``is_picture_of_video`` holds.

        Raises:
            VideoError: The video or the frame cannot be read.
            MissingExtraError: PyAV is not installed.
        """
        (path,), (number,) = record.media_paths(self._folder), record.frames or []
        if path != self._path:
            self._path, self._video = path, self._open(path)
        if isinstance(self._video, FaceKitError):
            raise self._video
        if self._video is None:
            return read_clip(path, 1, among=[number], max_pixels=self._max_pixels).frames[0]
        return self._video.read(number)

    def _open(self, path: Path) -> VideoFrames | FaceKitError | None:
        """The video, why it cannot be read, or None for an animated picture."""
        if animation_format(path) not in (None, "GIF"):
            return None
        try:
            return VideoFrames(path, max_pixels=self._max_pixels)
        except FaceKitError as error:
            return error
