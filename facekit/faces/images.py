"""Opening pictures safely, wherever they come from, as one upright RGB image of bounded size or one clear error."""

from __future__ import annotations

import logging
import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from facekit.errors import ConfigurationError, ImageError
from facekit.faces.sources import copy_content, describe_source, is_remote, local_path

logger = logging.getLogger(__name__)

ImageSource: TypeAlias = str | Path | bytes | Image.Image | np.ndarray

MAX_PIXELS = 64_000_000
NEUTRAL_COLOUR = (122, 116, 104)
"""The mean colour of CLIP's training images: an encoder that normalises by it sees about zero there."""

FILE_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Formats with a decoder inside Pillow; those that hand the file to another program (EPS, WMF) stay closed."""

_EXIF_WARNING = "the EXIF data of %s cannot be read (%s); its rotation is not applied"
_HEIC = re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)
_HEAD = 16
_TGA_SUFFIXES = (".tga", ".icb", ".vda", ".vst")

_CONVERTIBLE_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, struct.error,
    zlib.error, RuntimeError,  # the last of AVIF
)  # fmt: skip


def open_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture as an upright RGB image.

    The camera's rotation (EXIF) is applied. Transparency is composited on ``NEUTRAL_COLOUR``. Sixteen-bit grey is
    scaled from its full range to eight bits; palette, CMYK, one-bit and grey pictures become RGB. Of an animation the
    first frame is taken. The size is checked in the header, before pixels are decoded.

    Args:
        source: A path; an http(s), ``data:`` or ``file:`` address; a file's content as bytes; a PIL image; or an array
            ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` of uint8, uint16, bool, or floats in [0, 1].
            HEIC is read where ``pillow-heif`` is installed.
        max_pixels: The largest width times height that is decoded.

    Returns:
        A new RGB image; the source is left as it was.

    Raises:
        ImageError: The source is missing, cannot be fetched, is empty, not an image, truncated, too large, or of a kind
            that has no certain reading as RGB. The message names it and says what to do.
        ConfigurationError: ``max_pixels`` is below one.
    """
    if max_pixels < 1:
        raise ConfigurationError(f"max_pixels must be at least 1, not {max_pixels}")
    name = describe_source(source)
    if isinstance(source, np.ndarray):
        _check_size(source.shape[1::-1] if source.ndim >= 2 else (0, 0), name, max_pixels)
        return _array_to_rgb(source, name)
    if isinstance(source, Image.Image):
        return load_rgb(source, name, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = bytes(source)
        name = describe_source(source)
    if isinstance(source, (str, bytes)) and is_remote(source):
        content = BytesIO()
        copy_content(source, content)
        content.seek(0)
        return _open_file(content, name, max_pixels)
    if isinstance(source, (str, Path)):
        return _open_file(local_path(source), name, max_pixels)
    raise ImageError(
        "an image is a path, an address, a file's bytes, a PIL image or a numpy array, not "
        f"{type(source).__name__}; convert it first"
    )


def _open_file(file: Path | BytesIO, name: str, max_pixels: int) -> Image.Image:
    try:
        formats = [kind for kind in (*FILE_FORMATS, *_further_formats(file, name)) if kind in Image.OPEN]
        with Image.open(file, formats=formats) as image:
            return _load_own(image, name, max_pixels)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large to decode ({error}); shrink it below {max_pixels:,} pixels") from error
    except UnidentifiedImageError as error:
        readable = ", ".join(kind for kind in FILE_FORMATS if kind != "MPO")
        raise ImageError(f"{name} is not a picture of a known format ({readable}); save it as PNG or JPEG") from error
    except DECODING_ERRORS as error:
        raise ImageError(f"{name} cannot be read ({error}); check its permissions or export it again") from error


def _further_formats(file: Path | BytesIO, name: str) -> tuple[str, ...]:
    """Formats that only some files are tried as: TGA, which has no signature, by the suffix; HEIC by its contents.

    Raises:
        ImageError: The package that reads HEIC is missing.
    """
    Image.init()
    if isinstance(file, BytesIO):
        head = file.getvalue()[:_HEAD]
    else:
        if file.suffix.lower() in _TGA_SUFFIXES:
            return ("TGA",)
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
    if not _HEIC.match(head):
        return ()
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            f"{name} is a HEIC picture, which needs pillow-heif; pip install 'facekit-mllm[heic]', or save it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def load_rgb(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    """Decode a picture that Pillow has opened, as ``open_image`` does; ``name`` is what messages call it."""
    _decode(image, name, max_pixels)
    return _to_rgb(_upright(image, name), name)


def _load_own(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    """Do as ``load_rgb`` with a picture that nobody else has, whose pixels need no copy where they are RGB already."""
    _decode(image, name, max_pixels)
    if image.mode != "RGB" or image.has_transparency_data or image.readonly:
        return _to_rgb(_upright(image, name), name)
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except DECODING_ERRORS as error:
        logger.warning(_EXIF_WARNING, name, error)
    return image


def _decode(image: Image.Image, name: str, max_pixels: int) -> None:
    _check_size(image.size, name, max_pixels)
    try:
        image.load()
    except DECODING_ERRORS as error:
        raise ImageError(f"{name} is damaged or truncated ({error}); fetch or export it again") from error


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
    except DECODING_ERRORS as error:
        logger.warning(_EXIF_WARNING, name, error)
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
