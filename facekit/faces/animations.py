"""Animated WebP, PNG, AVIF and GIF pictures: told from still ones, and the chosen frames of the first three read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from facekit.errors import VideoError
from facekit.faces.images import DECODING_ERRORS, load_rgb

ANIMATED_SUFFIXES = (".gif", ".webp", ".png", ".apng", ".avif", ".avifs")
"""Of files that may be animated."""

_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")


def animation_format(source: Path | bytes) -> str | None:
    """Return the format of an animated picture, ``GIF``, ``WEBP``, ``PNG`` or ``AVIF``; None for anything else."""
    if isinstance(source, Path) and source.exists() and not source.is_file():
        return None  # a pipe would be waited for
    try:
        with _open(source) as image:
            return image.format if getattr(image, "n_frames", 1) > 1 else None
    except (Image.DecompressionBombError, *DECODING_ERRORS):
        return None  # opening it as a picture says what is wrong with it


def count_animation_frames(path: Path, name: str) -> int:
    """Count the frames of an animated picture.

    Raises:
        VideoError: It is damaged.
    """
    with _told(name), _open(path) as image:
        return int(image.n_frames)  # type: ignore[attr-defined]  # formats that are animated have it


def read_animation_frames(path: Path, name: str, wanted: Sequence[int], max_pixels: int) -> Iterator[Image.Image]:
    """Yield frames of an animated picture as upright RGB images.

    Args:
        path: The file.
        name: What messages call it.
        wanted: Indices of frames, ascending.
        max_pixels: The largest width times height.

    Raises:
        VideoError: A frame cannot be decoded, or is too large.
    """
    with _told(name), _open(path) as image:
        for number in wanted:
            image.seek(number)
            yield load_rgb(image, name, max_pixels)


def _open(source: Path | bytes) -> Image.Image:
    Image.init()
    formats = [kind for kind in _FORMATS if kind in Image.OPEN]
    return Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=formats)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except VideoError:
        raise
    except (Image.DecompressionBombError, *DECODING_ERRORS) as error:  # ImageError is a ValueError
        raise VideoError(f"{name} is no animation that can be read ({error}); fetch or export it again") from error
