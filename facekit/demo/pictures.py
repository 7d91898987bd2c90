"""Pictures inside a page: images as data URIs, the loss as an SVG drawing, so that the report is one file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord
from facekit.faces import draw_overlay, open_image
from facekit.training import LossHistory

_MOST_POINTS = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 60, 14, 34


def data_uri(image: Image.Image, *, quality: int = 88) -> str:
    """A picture as a ``data:`` URI (JPEG)."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def record_picture(record: FaceRecord, records: RecordSet, *, size: int = 240, overlay: bool = True) -> str:
    """A record's picture as a data URI, ``size`` pixels wide, with its landmarks and regions drawn if asked for."""
    picture = open_image(record.image_path(records.folder))
    landmarks = record.landmark_array(records.folder) if overlay else None
    return data_uri(draw_overlay(picture, landmarks, size=size, legend=False))


def loss_curve(history: LossHistory, *, width: int = 720, height: int = 260) -> str:
    """Draw a loss history as SVG: every entry faint, the smoothed curve strong, on a logarithmic scale.

    Args:
        history: The losses; an empty one gives an empty string.
        width: Of the drawing, in its own units; a page may scale it.
        height: Likewise.
    """
    losses, smoothed, steps = history.losses, history.smoothed(), history.steps
    shown = [loss for loss in losses if math.isfinite(loss) and loss > 0]
    if not shown:
        return ""
    low, high = _decades(min(shown), max(shown))
    last = max(steps[-1], 2)

    def place(step: float, loss: float) -> tuple[float, float]:
        across = (step - 1) / (last - 1)
        up = (math.log(min(max(loss, low), high)) - math.log(low)) / (math.log(high) - math.log(low))
        return _LEFT + across * (width - _LEFT - _RIGHT), height - _BOTTOM - up * (height - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="training loss by step">']
    for tick in _loss_ticks(low, high):
        _, y = place(1, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _step_ticks(last):
        x, _ = place(max(tick, 1), low)
        parts.append(f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle">{tick}</text>')
    places = np.unique(np.linspace(0, len(steps) - 1, min(_MOST_POINTS, len(steps))).round().astype(int))
    for name, values in (("raw", losses), ("smooth", smoothed)):
        points = " ".join("{:.1f},{:.1f}".format(*place(steps[index], values[index])) for index in places)
        parts.append(f'<polyline class="{name}" points="{points}"/>')
    x, y = place(steps[-1], smoothed[-1])
    parts.append(f'<circle class="end" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    parts.append(f'<text class="end" x="{x + 9:.1f}" y="{y + 5:.1f}">{smoothed[-1]:.3g}</text></svg>')
    return "".join(parts)


def _decades(low: float, high: float) -> tuple[float, float]:
    """Round outwards to 1, 2 or 5 times a power of ten."""
    ladder = [factor * 10.0**power for power in range(-6, 5) for factor in (1, 2, 5)]
    below = max((value for value in ladder if value <= low), default=ladder[0])
    above = min((value for value in ladder if value >= high), default=ladder[-1])
    return below, above if above > below else below * 2


def _loss_ticks(low: float, high: float) -> Sequence[float]:
    ladder = [factor * 10.0**power for power in range(-6, 5) for factor in (1, 2, 5)]
    return [value for value in ladder if low * 0.999 <= value <= high * 1.001]


def _step_ticks(last: int) -> Sequence[int]:
    rough = last / 5
    power = 10 ** math.floor(math.log10(max(rough, 1)))
    stride = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return range(0, last + 1, stride)
