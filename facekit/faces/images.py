"""Opening pictures safely, as one upright RGB image of bounded size or one clear error."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps

from facekit.errors import ConfigurationError, ImageError

logger = logging.getLogger(__name__)

ImageSource: TypeAlias = str | Path | Image.Image | np.ndarray

MAX_PIXELS = 64_000_000
NEUTRAL_COLOUR = (122, 116, 104)
"""The mean colour of CLIP's training images: an encoder that normalises by it sees about zero there."""

FILE_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""Formats with a decoder inside Pillow; those that hand the file to another program (EPS, WMF) stay closed."""

_CONVERTIBLE_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, struct.error, zlib.error
)  # fmt: skip


def open_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture as an upright RGB image.

    The camera's rotation (EXIF) is applied. Transparency is composited on ``NEUTRAL_COLOUR``. Sixteen-bit grey is
    scaled from its full range to eight bits; palette, CMYK, one-bit and grey pictures become RGB. Of an animation the
    first frame is taken. The size is checked in the header, before pixels are decoded.

    Args:
        source: A path; a PIL image; or an array ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` of uint8,
            uint16, bool, or floats in [0, 1].
        max_pixels: The largest width times height that is decoded.

    Returns:
        A new RGB image; the source is left as it was.

    Raises:
        ImageError: The source is missing, empty, not an image, truncated, too large, or of a kind that has no certain
            reading as RGB. The message names it and says what to do.
        ConfigurationError: ``max_pixels`` is below one.
    """
    if max_pixels < 1:
        raise ConfigurationError(f"max_pixels must be at least 1, not {max_pixels}")
    name = describe_source(source)
    if isinstance(source, np.ndarray):
        _check_size(source.shape[1::-1] if source.ndim >= 2 else (0, 0), name, max_pixels)
        return _array_to_rgb(source, name)
    if isinstance(source, Image.Image):
        return _load_rgb(source, name, max_pixels)
    if isinstance(source, (str, Path)):
        return _open_file(Path(source).expanduser(), name, max_pixels)
    raise ImageError(f"an image is a path, a PIL image or a numpy array, not {type(source).__name__}; convert it first")


def describe_source(source: object) -> str:
    """Return what messages call a picture: its path where it has one."""
    if isinstance(source, (str, Path)):
        return f"'{source}'"
    filename = getattr(source, "filename", None)
    if isinstance(filename, (str, Path)) and str(filename):
        return f"'{filename}'"
    return "the given array" if isinstance(source, np.ndarray) else "the given image"


def _open_file(path: Path, name: str, max_pixels: int) -> Image.Image:
    if not path.exists():
        raise ImageError(f"there is no file {name}; check the path")
    if not path.is_file():
        raise ImageError(f"{name} is not a file; give the path of one picture")
    if path.stat().st_size == 0:
        raise ImageError(f"{name} is empty (0 bytes); fetch or export it again")
    Image.init()
    try:
        with Image.open(path, formats=[kind for kind in FILE_FORMATS if kind in Image.OPEN]) as image:
            return _load_rgb(image, name, max_pixels)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large to decode ({error}); shrink it below {max_pixels:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        readable = ", ".join(kind for kind in FILE_FORMATS if kind != "MPO")
        raise ImageError(f"{name} is not a picture of a known format ({readable}); save it as PNG or JPEG") from error
    except _DECODING_ERRORS as error:
        raise ImageError(f"{name} cannot be read ({error}); check its permissions or export it again") from error


def _load_rgb(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    _check_size(image.size, name, max_pixels)
    try:
        image.load()
    except _DECODING_ERRORS as error:
        raise ImageError(f"{name} is damaged or truncated ({error}); fetch or export it again") from error
    return _to_rgb(_upright(image, name), name)


def _check_size(size: tuple[int, ...], name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height}); give a picture of at least 1 x 1")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height:,} pixels, above the bound of {max_pixels:,}; "
            "shrink it, or raise max_pixels if you trust it"
        )


def _upright(image: Image.Image, name: str) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DECODING_ERRORS as error:
        logger.warning("the EXIF data of %s cannot be read (%s); its rotation is not applied", name, error)
        return image.copy()


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16"):
        return _array_to_rgb(np.asarray(image).astype(np.uint16), name)
    if mode == "I":
        return _integers_to_rgb(np.asarray(image), name)
    if mode == "F":
        return _array_to_rgb(np.asarray(image), name)
    if mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, (*NEUTRAL_COLOUR, 255))
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("RGB")
    if mode in _CONVERTIBLE_MODES:
        return image.convert("RGB")
    raise ImageError(f"{name} has the colour mode '{mode}', which has no certain RGB form; save it as RGB PNG or JPEG")


def _integers_to_rgb(values: np.ndarray, name: str) -> Image.Image:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ImageError(f"{name} has 32-bit values from {low} to {high}; save it with 8 or 16 bits per channel")
    return _array_to_rgb(values.astype(np.uint16), name)


def _array_to_rgb(array: np.ndarray, name: str) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"{name} has shape {array.shape}; an image is (height, width), or (height, width, channels) "
            "with 1, 3 or 4 channels last"
        )
    pixels = _to_bytes(array, name)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return _to_rgb(Image.fromarray(np.ascontiguousarray(pixels)), name)


def _to_bytes(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):
            raise ImageError(
                f"{name} has float values from {low:g} to {high:g}; scale them to [0, 1], or pass uint8 from 0 to 255"
            )
        return (array * 255 + 0.5).astype(np.uint8)
    raise ImageError(f"{name} has type {array.dtype}; convert it to uint8 from 0 to 255, or to floats in [0, 1]")
