"""Pictures as data URLs, for self-contained pages."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def image_url(image: Image.Image, *, side: int | None = None, quality: int = 85) -> str:
    """A picture as a ``data:`` URL.

    Args:
        image: The picture, of any mode.
        side: Longest side in pixels; a larger picture is scaled down, a smaller one stays as it is. None keeps all.
        quality: JPEG quality, from 1 to 95.

    Returns:
        ``data:image/jpeg;base64,…``
    """
    picture = image.convert("RGB")
    if side is not None:
        picture.thumbnail((side, side))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality, optimize=True)
    return _data_url("image/jpeg", stream.getvalue())


def file_url(path: str | Path) -> str:
    """A picture file's bytes, as they are, as a ``data:`` URL.

    Args:
        path: A PNG, JPEG or WebP file.

    Raises:
        ValueError: Its name ends in none of these.
    """
    path = Path(path)
    kind = _TYPES.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} cannot be put into a page: its name ends in none of {', '.join(_TYPES)}")
    return _data_url(kind, path.read_bytes())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
