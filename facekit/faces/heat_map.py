"""Heat maps over a face: one panel per map, with its title, and the scale of the colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from facekit.errors import ConfigurationError

_RAMP = np.array(
    [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], dtype=np.float32
)  # from dark to light, so that it reads without colours too
_BACKGROUND, _TEXT = (255, 255, 255), (20, 23, 31)
_OPACITY = 0.62
_GAP, _TITLE, _SCALE, _LETTERS = 0.05, 0.15, 0.22, 0.092  # in sides of a panel


def draw_heat_maps(
    image: Image.Image,
    maps: ArrayLike,
    titles: Sequence[str],
    *,
    columns: int = 3,
    panel: int = 240,
    highest: float | None = None,
    before: Image.Image | None = None,
) -> Image.Image:
    """Draw maps over a picture, each in a panel of its own, with one scale for all.

    Args:
        image: The picture, square.
        maps: ``(M, rows, columns)``, from 0; cells cover the picture evenly.
        titles: One for each map.
        columns: Panels in a row.
        panel: Side of a panel in pixels.
        highest: The value of the lightest colour; by default the largest that occurs.
        before: A picture that a panel before those of the maps shows, such as the face with its landmarks.

    Returns:
        A new RGB image on white.

    Raises:
        ConfigurationError: Maps and titles do not fit, a value is not finite, or a number is below one.
    """
    values = np.asarray(maps, dtype=np.float32)
    if values.ndim != 3 or len(values) != len(titles) or not len(values):
        raise ConfigurationError(
            f"maps of shape {values.shape} do not fit {len(titles)} titles; give (M, rows, columns)"
        )
    if not np.isfinite(values).all():
        raise ConfigurationError("a map holds numbers that are not finite; draw frames with landmarks alone")
    if columns < 1 or panel < 32:
        raise ConfigurationError(f"{columns} columns of {panel} pixels show nothing; give at least 1 and 32")
    top = float(values.max()) if highest is None else highest
    gap, title, scale = (round(part * panel) for part in (_GAP, _TITLE, _SCALE))
    skipped = 0 if before is None else 1
    across, down = min(columns, len(values) + skipped), -(-(len(values) + skipped) // columns)
    size = (across * (panel + gap) + gap, down * (panel + gap + title) + gap + scale)
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(max(10, round(_LETTERS * panel)))
    picture = image.convert("L").convert("RGB").resize((panel, panel), Image.Resampling.LANCZOS)
    if before is not None:
        sheet.paste(before.convert("RGB").resize((panel, panel), Image.Resampling.LANCZOS), (gap, gap))
    for index, (cells, words) in enumerate(zip(values, titles, strict=True), start=skipped):
        x, y = gap + index % columns * (panel + gap), gap + index // columns * (panel + gap + title)
        sheet.paste(_blend(picture, cells / top if top > 0 else cells), (x, y))
        draw.text((x, y + panel + title / 2), words, fill=_TEXT, font=font, anchor="lm")
    _draw_scale(sheet, top, gap, scale, max(10, round(_LETTERS * panel)))
    return sheet


def _blend(picture: Image.Image, cells: np.ndarray) -> Image.Image:
    smooth = Image.fromarray(np.clip(cells, 0, 1).astype(np.float32)).resize(picture.size, Image.Resampling.BILINEAR)
    return Image.blend(picture, Image.fromarray(_colour(np.asarray(smooth))), _OPACITY)


def _colour(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as colours ``(..., 3)`` uint8."""
    at = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(values, at, channel) for channel in _RAMP.T], axis=-1).round().astype(np.uint8)


def _draw_scale(sheet: Image.Image, top: float, gap: int, height: int, letters: int) -> None:
    draw, width = ImageDraw.Draw(sheet), sheet.width - 2 * gap
    bar = np.broadcast_to(np.linspace(0, 1, width), (max(4, height // 5), width))
    y = sheet.height - height + height // 8
    sheet.paste(Image.fromarray(_colour(bar)), (gap, y))
    below = y + bar.shape[0] + height // 4
    ends = ("0 %", f"{100 * top:.0f} % of a patch's attention")
    font = ImageFont.load_default(letters)
    taken = draw.textlength("   ".join(ends), font=font)
    font = ImageFont.load_default(
        letters * min(1.0, width / taken)
    )  # one narrow column has less room than two ends take
    draw.text((gap, below), ends[0], fill=_TEXT, font=font, anchor="lm")
    draw.text((gap + width, below), ends[1], fill=_TEXT, font=font, anchor="rm")
