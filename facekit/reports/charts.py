"""Charts of a page as inline SVG: curves and histograms, in the page's colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

_MOST_POINTS = 240
_TOP, _BOTTOM = 16, 62
_CHARACTER = 14.5  # width of a digit where a phone enlarges the letters, see page.html.jinja
_LADDER = [factor * 10.0**power for power in range(-9, 7) for factor in (1, 2, 5)]


def line_chart(
    steps: Sequence[int],
    values: Sequence[float],
    smoothed: Sequence[float] | None = None,
    *,
    title: str,
    style: str = "smooth",
    logarithmic: bool = True,
    width: int = 720,
    height: int = 288,
) -> Markup:
    """Draw values over steps: every value faint and the smoothed curve strong, or the values alone.

    Args:
        steps: Whole numbers in rising order.
        values: One per step; values that are not finite are left out.
        smoothed: Likewise, or None.
        title: What the chart shows, for readers that cannot see it.
        style: Class of the strong curve: ``smooth`` or ``second``.
        logarithmic: The scale of the values; they must be positive then, and others are left out.
        width: Of the drawing, in its own units; a page scales it.
        height: Likewise.

    Returns:
        SVG; nothing where there is no value to draw.
    """
    from markupsafe import Markup

    shown = [value for value in values if math.isfinite(value) and (value > 0 or not logarithmic)]
    if not shown:
        return Markup("")
    most = max(2, height // 60)
    low, high = _decades(min(shown), max(shown)) if logarithmic else _ends(min(shown), max(shown), most)
    first, last = steps[0], max(steps[-1], steps[0] + 1)
    ticks = _loss_ticks(low, high, (height - _TOP - _BOTTOM) // 28) if logarithmic else _even_ticks(low, high, most)
    end = f"{smoothed[-1]:.3g}" if smoothed is not None and math.isfinite(smoothed[-1]) else ""
    left = 12 + _CHARACTER * max(len(f"{tick:.3g}") for tick in ticks)
    right = width - max(14 + 1.1 * _CHARACTER * len(end), _CHARACTER * len(f"{steps[-1]:,}") / 2)

    def project(step: float, value: float) -> tuple[float, float]:
        scale = math.log if logarithmic else float
        up = (scale(min(max(value, low), high)) - scale(low)) / (scale(high) - scale(low))
        across = min(1.0, max(0.0, (step - first) / (last - first)))
        return left + across * (right - left), height - _BOTTOM - up * (height - _TOP - _BOTTOM)

    parts = [f'<svg class="chart lines" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    for tick in ticks:
        y = project(first, tick)[1]
        parts.append(f'<line class="grid" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    fitting = int((right - left) / (_CHARACTER * (len(f"{steps[-1]:,}") + 1)))
    for tick in _step_ticks(first, steps[-1], max(1, min(5, fitting))):
        x = project(tick, low)[0]
        parts.append(f'<text x="{x:.1f}" y="{height - 38}" text-anchor="middle">{tick:,}</text>')
    parts.append(f'<text x="{(left + right) / 2:.1f}" y="{height - 8}" text-anchor="middle" class="unit">step</text>')
    curves = [(style, values)] if smoothed is None else [("raw", values), (style, smoothed)]
    for name, curve in curves:
        points = (project(steps[index], curve[index]) for index in _thinned(len(steps)) if math.isfinite(curve[index]))
        parts.append(f'<polyline class="{name}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
    if smoothed is not None and end:
        x, y = project(steps[-1], smoothed[-1])
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(f'<text class="end" x="{x + 9:.1f}" y="{y + 5:.1f}">{end}</text>')
    return Markup("".join([*parts, "</svg>"]))


def histogram(
    counts: Mapping[int, int], labels: Sequence[str], title: str, *, mark: float | None = None, mark_label: str = ""
) -> Markup:
    """Draw a histogram.

    Args:
        counts: Bin, from 0, to number.
        labels: What each bin is called.
        title: What the chart shows, for readers that cannot see it.
        mark: Bin, possibly between two (1.5 is between the second and the third), where a line is drawn.
        mark_label: What the line means.

    Examples:
        >>> from facekit.reports import histogram
        >>> histogram({0: 3, 1: 5}, ["low", "high"], "ratings")[:4]
        Markup('<svg')
    """
    from markupsafe import Markup

    width, height, gap, head, foot = 40, 110, 6, 20, 22
    top = max([1, *counts.values()])
    total, floor = len(labels) * width, head + height
    parts = [
        f'<svg class="chart columns" viewBox="0 0 {total} {floor + foot}" role="img" aria-label="{escape(title)}">'
    ]
    parts.append(f'<line class="grid" x1="0" x2="{total}" y1="{floor}" y2="{floor}"/>')
    for index, label in enumerate(labels):
        count, middle = counts.get(index, 0), (index + 0.5) * width
        if count:
            bar = max(1.5, height * count / top)
            parts.append(
                f'<rect class="column" x="{index * width + gap / 2:.1f}" y="{floor - bar:.1f}" '
                f'width="{width - gap}" height="{bar:.1f}" rx="2"><title>{escape(label)}: {count:,}</title></rect>'
                f'<text class="value" x="{middle:.1f}" y="{floor - bar - 5:.1f}" text-anchor="middle">'
                f"{_short(count)}</text>"
            )
        parts.append(f'<text x="{middle:.1f}" y="{floor + 16}" text-anchor="middle">{escape(label)}</text>')
    if mark is not None:
        x = (mark + 0.5) * width
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{floor}"/>')
        parts.append(f'<text class="mark" x="{x - 5:.1f}" y="12" text-anchor="end">{escape(mark_label)}</text>')
    return Markup("".join([*parts, "</svg>"]))


def _thinned(count: int) -> list[int]:
    """At most so many indices as can be told apart, evenly spread, the first and the last among them."""
    if count <= _MOST_POINTS:
        return list(range(count))
    return sorted({round(index * (count - 1) / (_MOST_POINTS - 1)) for index in range(_MOST_POINTS)})


def _decades(low: float, high: float) -> tuple[float, float]:
    """Round outwards to 1, 2 or 5 times a power of ten."""
    below = max((value for value in _LADDER if value <= low), default=_LADDER[0])
    above = min((value for value in _LADDER if value >= high), default=_LADDER[-1])
    return below, above if above > below else below * 2


def _ends(low: float, high: float, most: int) -> tuple[float, float]:
    """Whole strides outwards, from zero for values that are not negative; never two equal ends."""
    low, high = min(low, 0.0), max(high, 0.0)
    stride = _stride(low, high if high > low else low + 1.0, most)
    return stride * math.floor(low / stride), stride * max(math.ceil(high / stride), math.floor(low / stride) + 1)


def _stride(low: float, high: float, most: int) -> float:
    """One, two or five times a power of ten, so that a range has about so many at most."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    stride = _stride(low, high, most)
    return [stride * number for number in range(round(low / stride), round(high / stride) + 1)]


def _loss_ticks(low: float, high: float, most: int) -> Sequence[float]:
    """Ones, twos and fives of every power of ten, or where these are too many the powers, or every other one."""
    inside = [(index, value) for index, value in enumerate(_LADDER) if low * 0.999 <= value <= high * 1.001]
    choices = ([value for index, value in inside if index % stride == 0] for stride in (1, 3, 6, 12))
    return next(ticks for ticks in choices if len(ticks) <= most)


def _step_ticks(first: int, last: int, most: int) -> list[int]:
    """Whole steps only, about ``most`` at most: multiples of a round number, and the first step of a short run."""
    rough = max((last - first) / most, 1)
    power = 10 ** math.floor(math.log10(rough))
    stride = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    round_ticks = list(range(first + -first % stride, last + 1, stride))
    return [first, *(tick for tick in round_ticks if 2 * (tick - first) >= stride)]  # none is written over the first


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.3g}k"
