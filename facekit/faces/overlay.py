"""An overlay of detected faces: box, 68 landmarks and the nine regions, with a legend.

Everything is drawn three times larger and shrunk, which smooths the edges; Pillow is all that is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from facekit.errors import ConfigurationError
from facekit.faces.layout import FACE_REGIONS, NUM_LANDMARKS, REGION_LABELS

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

REGION_COLOURS: Mapping[str, Colour] = MappingProxyType(
    {
        "face": (255, 255, 255),
        "eyebrow1": (228, 189, 32),
        "eyebrow2": (177, 255, 150),
        "nose": (152, 81, 145),
        "nostril": (105, 144, 29),
        "eye1": (74, 129, 233),
        "eye2": (214, 181, 232),
        "lips": (194, 51, 84),
        "teeth": (249, 138, 152),
    }
)
"""Nine colours that differ by at least 24 (CIE 1976) from each other, for full colour vision and, after the model of
Machado et al. 2009, for protanopia, deuteranopia and tritanopia."""

SUPERSAMPLING = 3
SIZE_RANGE = (64, 2048)
CLOSED_REGIONS = ("eye1", "eye2", "lips", "teeth")
FILL_OPACITY = 88
HALO = (12, 14, 20, 150)
LEGEND_BACKGROUND = (20, 23, 31)
LEGEND_TEXT = (226, 230, 238)
LEGEND_COLUMNS = 3
LEGEND_COLUMN_WIDTH = 200
"""In pixels of a legend for a picture 768 pixels wide; narrow pictures have fewer columns."""


def draw_overlay(
    image: Image.Image,
    landmarks: ArrayLike | None,
    box: Sequence[float] | None = None,
    *,
    size: int = 768,
    regions: bool = True,
    legend: bool = True,
) -> Image.Image:
    """Draw what was found on a copy of a picture.

    Args:
        image: The picture.
        landmarks: ``(68, 2)`` or ``(F, 68, 2)`` for F faces, x then y in [0, 1] of the picture. None and NaN rows are
            left out.
        box: Left, top, right, bottom in [0, 1] of the picture, or F of these.
        size: The longer side of the drawn picture in pixels, without the legend; small pictures are enlarged to it.
        regions: Whether regions are drawn and coloured; otherwise the landmarks alone, in white.
        legend: Whether a strip below the picture names the colours; only where regions were drawn.

    Returns:
        A new RGB image.

    Raises:
        ConfigurationError: The landmarks, the box or the size cannot be used.

    Examples:
        >>> from facekit.faces import draw_overlay, load_landmarker, prepare_face
        >>> face = prepare_face("photo.jpg", load_landmarker("dlib"))
        >>> draw_overlay(face.image, face.landmarks, size=256).save("overlay.png")
    """
    if not SIZE_RANGE[0] <= size <= SIZE_RANGE[1]:
        raise ConfigurationError(f"an overlay's size is from {SIZE_RANGE[0]} to {SIZE_RANGE[1]} pixels, not {size}")
    faces = _read_faces(landmarks)
    boxes = _read_boxes(box)
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    picture = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)

    canvas_size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    canvas = Image.new("RGBA", canvas_size)
    for edges in boxes:
        _draw_box(canvas, edges * [*canvas_size, *canvas_size])
    for face in faces:
        _draw_face(canvas, face * canvas_size, regions)
    picture.paste(Image.alpha_composite(picture.convert("RGBA"), canvas.resize((width, height), Image.Resampling.BOX)))
    return _add_legend(picture) if legend and regions and len(faces) else picture


def _read_faces(landmarks: ArrayLike | None) -> np.ndarray:
    if landmarks is None:
        return np.empty((0, NUM_LANDMARKS, 2))
    faces = np.asarray(landmarks, dtype=np.float64)
    if faces.ndim not in (2, 3) or faces.shape[-2:] != (NUM_LANDMARKS, 2):
        raise ConfigurationError(
            f"landmarks must be ({NUM_LANDMARKS}, 2) or (F, {NUM_LANDMARKS}, 2), not {faces.shape}"
        )
    faces = faces.reshape(-1, NUM_LANDMARKS, 2)
    faces = faces[np.isfinite(faces).all(axis=(1, 2))]
    _require_normalised(faces, "landmarks")
    return faces


def _read_boxes(box: Sequence[float] | None) -> np.ndarray:
    if box is None:
        return np.empty((0, 4))
    boxes = np.asarray(box, dtype=np.float64)
    if boxes.size == 0 or boxes.shape[-1] != 4 or boxes.ndim > 2 or not np.isfinite(boxes).all():
        raise ConfigurationError(f"a box is left, top, right, bottom in [0, 1], not an array of shape {boxes.shape}")
    _require_normalised(boxes, "a box")
    return boxes.reshape(-1, 4)


def _require_normalised(values: np.ndarray, what: str) -> None:
    if values.size and np.abs(values).max() > 5:
        raise ConfigurationError(
            f"{what} for an overlay must be in [0, 1] of the picture, but reach {np.abs(values).max():.0f}; "
            "divide pixels by its width and height"
        )


def _draw_face(canvas: Image.Image, points: np.ndarray, regions: bool) -> None:
    extent = float(np.ptp(points, axis=0).max())
    stroke = min(max(extent * 0.0085, 0.7 * SUPERSAMPLING), 2.6 * SUPERSAMPLING)
    draw = ImageDraw.Draw(canvas)
    if regions:
        outlines = {
            name: _smooth(points[indices.start : indices.stop], closed=name in CLOSED_REGIONS)
            for name, indices in FACE_REGIONS.items()
        }
        for name in CLOSED_REGIONS:
            draw.polygon(outlines[name], fill=(*REGION_COLOURS[name], FILL_OPACITY))
        for name, outline in outlines.items():
            width = stroke * (1.8 if name.startswith("eyebrow") else 1.0)
            _stroke(draw, outline, width + 1.6 * stroke, HALO)
            _stroke(draw, outline, width, (*REGION_COLOURS[name], 255))
    for name, indices in FACE_REGIONS.items():
        colour = REGION_COLOURS[name] if regions else REGION_COLOURS["face"]
        for x, y in points[indices.start : indices.stop]:
            _dot(draw, (x, y), stroke * 1.9, HALO[:3])
            _dot(draw, (x, y), stroke * 1.45, colour)
            _dot(draw, (x, y), stroke * 0.6, (255, 255, 255))


def _draw_box(canvas: Image.Image, edges: np.ndarray) -> None:
    """Corner brackets: they frame the face without crossing it."""
    left, top, right, bottom = (float(edge) for edge in edges)
    draw = ImageDraw.Draw(canvas)
    side = max(right - left, bottom - top)
    stroke = min(max(side * 0.009, SUPERSAMPLING), 3.0 * SUPERSAMPLING)
    arm_x, arm_y = (right - left) * 0.16, (bottom - top) * 0.16
    for width, colour in ((stroke + 2.0 * SUPERSAMPLING, HALO), (stroke, (*REGION_COLOURS["face"], 255))):
        for x, toward_x in ((left, arm_x), (right, -arm_x)):
            for y, toward_y in ((top, arm_y), (bottom, -arm_y)):
                _stroke(draw, [(x + toward_x, y), (x, y), (x, y + toward_y)], width, colour)


def _stroke(draw: ImageDraw.ImageDraw, line: list[Point], width: float, colour: tuple[int, ...]) -> None:
    draw.line(line, fill=colour, width=max(1, round(width)), joint="curve")
    for end in (line[0], line[-1]):
        _dot(draw, end, width / 2, colour)


def _dot(draw: ImageDraw.ImageDraw, center: Point, radius: float, colour: tuple[int, ...]) -> None:
    x, y = center
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _smooth(points: np.ndarray, *, closed: bool, steps: int = 12) -> list[Point]:
    """Catmull-Rom spline through the points; a closed one ends where it began."""
    padded = np.concatenate(
        [points[-1:], points, points[:2]]
        if closed
        else [2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]]
    )
    before, start, end, after = (padded[offset : len(padded) - 3 + offset, None] for offset in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    ordered = np.concatenate([curve.reshape(-1, 2), padded[-2:-1]])
    return [(float(x), float(y)) for x, y in ordered]


def _add_legend(picture: Image.Image) -> Image.Image:
    unit = max(picture.width / 768, 0.45) * SUPERSAMPLING
    columns = max(1, min(LEGEND_COLUMNS, int(picture.width * SUPERSAMPLING / (LEGEND_COLUMN_WIDTH * unit))))
    font = ImageFont.load_default(19 * unit)
    row, pad = 32 * unit, 20 * unit
    rows = -(-len(FACE_REGIONS) // columns)
    width, height = picture.width * SUPERSAMPLING, round(2 * pad + rows * row)
    strip = Image.new("RGB", (width, height), LEGEND_BACKGROUND)
    draw = ImageDraw.Draw(strip)
    column = (width - 2 * pad) / columns
    for index, name in enumerate(FACE_REGIONS):
        x = pad + (index % columns) * column + column * 0.14
        y = pad + (index // columns + 0.5) * row
        _stroke(draw, [(x, y), (x + 20 * unit, y)], 6 * unit, REGION_COLOURS[name])
        draw.text((x + 36 * unit, y), REGION_LABELS[name], fill=LEGEND_TEXT, font=font, anchor="lm")
    legend = strip.resize((picture.width, max(1, round(height / SUPERSAMPLING))), Image.Resampling.BOX)
    result = Image.new("RGB", (picture.width, picture.height + legend.height))
    result.paste(picture, (0, 0))
    result.paste(legend, (0, picture.height))
    return result
