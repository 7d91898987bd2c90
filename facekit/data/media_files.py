"""Pictures and video files prepared for requests to endpoints: opened safely, downscaled, as JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facekit.endpoints.pictures import bare_jpeg, check_image_side, encode_jpeg
from facekit.faces.images import open_image
from facekit.faces.video import read_clip

IMAGE_SIDE = 512
"""Longest side, in pixels, at which pictures are sent by default."""


@dataclass(frozen=True)
class ClipFrames:
    """Which frames of a video file are sent.

    Args:
        count: How many, evenly spaced.
        among: Indices of those that are meant, from 0; None for the whole file.
    """

    count: int
    among: tuple[int, ...] | None = None


@dataclass(frozen=True)
class MediaFiles:
    """Picture files, or the frames of one video file; see ``facekit.endpoints.requests.Media``.

    Args:
        paths: Of the picture, or of frames in order; or of one video file.
        image_side: Longest side, in pixels, at which a picture is sent.
        clip: The frames of the video file that are sent; None for pictures.
    """

    paths: tuple[str, ...]
    image_side: int = IMAGE_SIDE
    clip: ClipFrames | None = None

    @property
    def count(self) -> int:
        """How many pictures are sent, at most."""
        return len(self.paths) if self.clip is None else self.clip.count

    def encode(self) -> list[bytes]:
        """The pictures, or the frames of the clip, as JPEG files.

        Raises:
            ImageError: If a picture cannot be read.
            VideoError: If the video file cannot be read.
            MissingExtraError: If there is a video file and PyAV is not installed.
            ConfigurationError: If the size is out of range.
        """
        if self.clip is None:
            return [encode_picture(path, self.image_side) for path in self.paths]
        check_image_side(self.image_side)
        clip = read_clip(self.paths[0], self.clip.count, among=self.clip.among)
        frames = dict(zip(clip.indices, clip.frames, strict=True))  # a file with fewer frames repeats some
        return [encode_jpeg(frame, self.image_side) for frame in frames.values()]


def encode_picture(path: str, image_side: int) -> bytes:
    """A picture as a JPEG file whose longer side is at most ``image_side`` pixels; smaller ones keep their size.

    A file that is such a JPEG already, with nothing in it but the picture, is taken as it is.

    Args:
        path: The picture.
        image_side: Pixels.

    Raises:
        ImageError: If the picture cannot be read.
        ConfigurationError: If the size is out of range.
    """
    check_image_side(image_side)
    return bare_jpeg(Path(path).expanduser(), image_side) or encode_jpeg(open_image(path), image_side)
