"""Lines in the skin: age wrinkles and the creases of action units.

They sit where a face has them, but the landmarks do not depend on them: a crease is a second sign of a unit that the
geometry already shows.
"""

from __future__ import annotations

import numpy as np

from facekit.data.synthetic.geometry import smooth_curve
from facekit.data.synthetic.sketch import Sketch

_FAINTEST = 0.06
_Crease = tuple[float, list[tuple[float, float]]]


def draw_creases(sketch: Sketch) -> None:
    """Draw all lines as grooves with a lit lower edge."""
    _carve(sketch, _thin_lines(sketch), 0.028, 0.009)
    _carve(sketch, _folds(sketch), 0.045, 0.018)


def _carve(sketch: Sketch, creases: list[_Crease], width: float, soft: float) -> None:
    canvas = sketch.canvas
    visible = [(min(strength, 1.0), points) for strength, points in creases if strength > _FAINTEST]
    if not visible:
        return
    projected = sketch.frame.project_surface(np.array([point for _, points in visible for point in points]))
    ends = np.cumsum([len(points) for _, points in visible])[:-1]
    curves = [smooth_curve(points, 4) for points in np.split(projected, ends)]
    strengths = [strength for strength, _ in visible]
    wide, blur = sketch.length(width), sketch.length(soft)
    groove = canvas.lines(*curves, width=wide, soft=blur, within=sketch.head, strengths=strengths)
    canvas.scale(groove, (0.6, 0.5, 0.48))
    below = [curve + sketch.shift(0.0, 1.3 * width) for curve in curves]
    canvas.scale(canvas.lines(*below, width=wide, soft=blur, within=sketch.head, strengths=strengths), 1.12)


def _both(strength: float, *points: tuple[float, float]) -> list[_Crease]:
    """A crease and its counterpart on the other side of the face."""
    return [(strength, list(points)), (strength, [(-x, y) for x, y in points])]


def _thin_lines(sketch: Sketch) -> list[_Crease]:
    """Forehead, glabella, beside the eyes, root of the nose, chin."""
    shape, signs = sketch.face.shape, sketch.face.signs
    lines: list[_Crease] = []
    raised = max(sketch.unit("AU1"), sketch.unit("AU2"))
    forehead = min(1.0, 0.85 * signs.forehead + (0.25 + 0.6 * signs.forehead) * raised)
    for row in range(3):
        if forehead > max(0.08, 0.23 * row):
            y, end = shape.brow_height - 0.12 - 0.13 * raised - 0.135 * row, 0.5 - 0.05 * row
            bow = [(-end, y + 0.03), (-0.25, y - 0.015), (0.0, y + 0.015), (0.25, y - 0.015), (end, y + 0.03)]
            lines.append((forehead * (1 - 0.15 * row), bow))
    brow = shape.brow_height
    frown = min(1.0, 0.85 * sketch.unit("AU4") + 0.25 * signs.forehead)
    lines += _both(frown, (0.055, brow - 0.09), (0.045, brow), (0.065, brow + 0.09))
    feet = min(1.0, 0.9 * signs.crow_feet + (0.35 + 0.5 * signs.crow_feet) * sketch.unit("AU6"))
    x, y = shape.eye_spacing + shape.eye_width * 1.12, shape.eye_height
    for tilt in (-0.1, 0.0, 0.1):
        lines += _both(feet, (x, y + 0.3 * tilt), (x + 0.07, y + 0.8 * tilt), (x + 0.14, y + 1.5 * tilt))
    for row in range(3):
        y = shape.eye_height + 0.03 + 0.075 * row
        lines += _both(sketch.unit("AU9"), (0.02, y - 0.015), (0.09, y), (0.14, y + 0.045))
    chin = sketch.unit("AU17")
    low = 0.5 * (shape.mouth_height + shape.lower_lip + shape.chin) + 0.04
    lines.append((chin, [(-0.16, low + 0.03), (0.0, low - 0.05), (0.16, low + 0.03)]))
    lines += _both(chin, (0.05, low + 0.05), (0.09, low + 0.1), (0.07, low + 0.15))
    return lines


def _folds(sketch: Sketch) -> list[_Crease]:
    """Broad folds: under the eyes, from nose to mouth, from mouth to jaw."""
    shape, signs = sketch.face.shape, sketch.face.signs
    pull, stretch = sketch.unit("AU12"), sketch.unit("AU20")
    side = max(shape.mouth_width * (1 + 0.3 * pull + 0.32 * stretch) + 0.1, shape.nose_width + 0.16)
    fold = min(1.0, 0.85 * signs.nasolabial + 0.55 * pull + 0.45 * sketch.unit("AU9") + 0.1 * sketch.unit("AU15"))
    top, end = shape.nose_base - 0.08, shape.mouth_height - 0.1 * pull - 0.02
    lines = _both(fold, (shape.nose_width + 0.03, top), (0.72 * side + 0.03, top + 0.13), (side, end))
    bag = min(1.0, 0.85 * signs.bags + 0.3 * sketch.unit("AU6"))
    eye, y = shape.eye_spacing, shape.eye_height + 0.12
    lines += _both(bag, (eye - 0.19, y - 0.03), (eye - 0.02, y + 0.045), (eye + 0.17, y))
    marionette = min(1.0, 0.9 * signs.marionette + 0.3 * sketch.unit("AU15"))
    x, y = shape.mouth_width + 0.05, shape.mouth_height
    lines += _both(marionette, (x, y + 0.06), (x + 0.05, y + 0.16), (x + 0.04, y + 0.27))
    return lines
