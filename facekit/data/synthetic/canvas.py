"""A supersampled canvas for soft, antialiased shapes in coordinates from 0 to 1.

The only file that rasterises. Shapes are drawn as 8-bit coverage masks by OpenCV with sub-pixel positions, then blended
in floating point inside their bounding box, which keeps a face with some hundred shapes at a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from facekit.errors import MissingExtraError

_SHIFT = 4
_ONE = 1 << _SHIFT
_ANGLES = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack((np.cos(_ANGLES), np.sin(_ANGLES)), axis=-1)
_SMALL = 112
"""Pictures up to this size are supersampled twice, larger ones one and a half times: their edges need it less."""
_BLUR_RADIUS = 2.2
"""Radius of the triangular blur per standard deviation of the Gaussian that it stands for."""


@cache
def load_opencv() -> Any:
    """OpenCV, which the extra ``synthetic`` installs.

    Raises:
        MissingExtraError: If it is not installed; the message has the command.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError(
            "drawing synthetic faces needs OpenCV; install it with: pip install 'facekit-mllm[synthetic]'"
        ) from error
    cv2.setNumThreads(1)
    return cv2


class Stencil(NamedTuple):
    """Coverage of a shape inside its bounding box.

    Attributes:
        rows: Rows of the canvas.
        columns: Columns of the canvas.
        cover: Coverage from 0 to 1, float32 of shape (rows, columns).
    """

    rows: slice
    columns: slice
    cover: np.ndarray

    def part(self, rows: slice, columns: slice) -> np.ndarray:
        """Coverage of a part of the canvas that lies inside the bounding box."""
        top, left = self.rows.start, self.columns.start
        return self.cover[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


class Canvas:
    """Pixels under construction.

    Attributes:
        size: Side of the finished picture.
        side: Side of the supersampled one.
        pixels: float32 of shape (3, side, side), red, green and blue from 0 to 255; planes blend several times faster
            than interleaved pixels.
    """

    def __init__(self, size: int, supersampling: float | None = None) -> None:
        self.size = size
        self.side = round(size * (supersampling or (2.0 if size <= _SMALL else 1.5)))
        self.pixels = np.zeros((3, self.side, self.side), dtype=np.float32)
        self._cv2 = load_opencv()

    def polygon(self, *outlines: np.ndarray, soft: float = 0.0, within: Stencil | None = None) -> Stencil | None:
        """Coverage of filled outlines.

        Args:
            outlines: Points from 0 to 1, each of shape (K, 2).
            soft: Standard deviation of the edge's blur, as a part of the side.
            within: Another shape that limits the shape.

        Returns:
            The coverage, or ``None`` where the shape lies outside the canvas.
        """
        cv2 = self._cv2
        drawing = self._prepare(outlines, soft, 1, within)
        if drawing is None:
            return None
        rows, columns, points, mask = drawing
        cv2.fillPoly(mask, points, 255, lineType=cv2.LINE_AA, shift=_SHIFT)
        return self._finish(rows, columns, mask, soft, within)

    def lines(
        self,
        *curves: np.ndarray,
        width: float,
        soft: float = 0.0,
        within: Stencil | None = None,
        closed: bool = False,
        strengths: Sequence[float] | None = None,
    ) -> Stencil | None:
        """Coverage of lines.

        Args:
            curves: Points from 0 to 1, each of shape (K, 2), or (n, K, 2) for n lines.
            width: Width of the line, as a part of the side; thinner than a pixel is drawn fainter.
            soft: Standard deviation of the blur, as a part of the side.
            within: Another shape that limits the lines.
            closed: Whether the last point joins the first.
            strengths: Coverage of each line, from 0 to 1; 1 where not given.

        Returns:
            The coverage, or ``None`` where nothing lies inside the canvas.
        """
        cv2 = self._cv2
        thickness = width * self.side
        whole = max(1, round(thickness))
        drawing = self._prepare(curves, soft, whole + 1, within)
        if drawing is None:
            return None
        rows, columns, points, mask = drawing
        level = 255 * min(1.0, thickness / whole)
        if strengths is None:
            cv2.polylines(mask, points, closed, round(level), whole, cv2.LINE_AA, _SHIFT)
        else:
            for strength, line in sorted(zip(strengths, points, strict=True), key=itemgetter(0)):
                cv2.polylines(mask, [line], closed, round(level * strength), whole, cv2.LINE_AA, _SHIFT)
        return self._finish(rows, columns, mask, soft, within)

    def disc(
        self, centre: Sequence[float] | np.ndarray, radius: float, soft: float = 0.0, within: Stencil | None = None
    ) -> Stencil | None:
        """Coverage of a disc, or of several of one size.

        Args:
            centre: Position from 0 to 1, shape (2,) or (n, 2).
            radius: Radius as a part of the side.
            soft: Standard deviation of the edge's blur, as a part of the side.
            within: Another shape that limits the disc.

        Returns:
            The coverage, or ``None`` where the disc lies outside the canvas.
        """
        return self.polygon(np.asarray(centre)[..., None, :] + radius * _CIRCLE, soft=soft, within=within)

    def blend(self, stencil: Stencil | None, colour: Sequence[float], opacity: float = 1.0) -> None:
        """Cover a shape with a colour."""
        if stencil is None or opacity <= 0:
            return
        region = self.pixels[:, stencil.rows, stencil.columns]
        change = np.array(colour, dtype=np.float32)[:, None, None] - region
        change *= stencil.cover if opacity == 1 else stencil.cover * np.float32(opacity)
        region += change

    def scale(self, stencil: Stencil | None, factor: float | Sequence[float] | np.ndarray) -> None:
        """Multiply a shape's pixels by a factor, or by one factor per colour: shadows and light."""
        if stencil is None:
            return
        change = np.array(factor, dtype=np.float32).reshape(-1, 1, 1) - np.float32(1.0)
        change = stencil.cover * change
        change += np.float32(1.0)
        self.pixels[:, stencil.rows, stencil.columns] *= change

    def join(self, cover: np.ndarray, *stencils: Stencil | None) -> None:
        """Add shapes to a coverage of the whole canvas, float32 of shape (side, side), in place."""
        for stencil in stencils:
            if stencil is not None:
                region = cover[stencil.rows, stencil.columns]
                np.maximum(region, stencil.cover, out=region)

    def shrink(self) -> np.ndarray:
        """The finished picture: float32 of shape (size, size, 3)."""
        cv2 = self._cv2
        return cv2.resize(cv2.merge(list(self.pixels)), (self.size, self.size), interpolation=cv2.INTER_AREA)

    def _prepare(
        self, outlines: Sequence[np.ndarray], soft: float, margin: int, within: Stencil | None
    ) -> tuple[slice, slice, list[np.ndarray], np.ndarray] | None:
        """Bounding box, fixed-point outlines inside it, and an empty mask."""
        if not outlines:
            return None
        side = self.side
        margin += ceil(2.5 * soft * side)
        every = (
            outlines[0].reshape(-1, 2) if len(outlines) == 1 else np.concatenate([o.reshape(-1, 2) for o in outlines])
        )
        fixed = np.rint(every * (side * _ONE) - _ONE / 2).astype(np.int32)
        x, y, wide, high = self._cv2.boundingRect(fixed)
        rows, columns = (within.rows, within.columns) if within is not None else (slice(0, side), slice(0, side))
        left, top = max((x >> _SHIFT) - margin, columns.start), max((y >> _SHIFT) - margin, rows.start)
        right = min((x + wide >> _SHIFT) + margin + 2, columns.stop)
        bottom = min((y + high >> _SHIFT) + margin + 2, rows.stop)
        if left >= right or top >= bottom:
            return None
        fixed -= (left << _SHIFT, top << _SHIFT)
        points, start = [], 0
        for shape in [outline.shape for outline in outlines]:
            for _ in range(shape[0] if len(shape) == 3 else 1):
                points.append(fixed[start : start + shape[-2]])
                start += shape[-2]
        return slice(top, bottom), slice(left, right), points, np.zeros((bottom - top, right - left), dtype=np.uint8)

    def _finish(self, rows: slice, columns: slice, mask: np.ndarray, soft: float, within: Stencil | None) -> Stencil:
        radius = round(_BLUR_RADIUS * soft * self.side)
        if radius > 0:
            mask = self._cv2.stackBlur(mask, (2 * radius + 1, 2 * radius + 1))
        cover = np.multiply(mask, np.float32(1 / 255), dtype=np.float32)
        if within is not None:
            cover *= within.part(rows, columns)
        return Stencil(rows, columns, cover)
