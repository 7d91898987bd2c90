"""Beard and moustache."""

from __future__ import annotations

import numpy as np

from facekit.data.synthetic.canvas import Stencil
from facekit.data.synthetic.geometry import smooth_curve
from facekit.data.synthetic.parameters import Colour
from facekit.data.synthetic.sampling import stream
from facekit.data.synthetic.sketch import Sketch, shade


def draw_beard(sketch: Sketch) -> None:
    """Beard and moustache, drawn before the mouth."""
    worn = sketch.face.adornment
    if worn.beard > 0:
        _draw_full_beard(sketch, worn.beard)
    if worn.moustache > 0:
        _draw_moustache(sketch, worn.moustache)


def _draw_full_beard(sketch: Sketch, density: float) -> None:
    face, canvas, points = sketch.face, sketch.canvas, sketch.landmarks
    colour, mouth, wide = face.appearance.beard, face.shape.mouth_height, face.shape.width
    centre = points[57]
    low = centre + (smooth_curve(points[1:16]) - centre) * (1.0 + 0.07 * density)
    side = [(0.9 * wide, 0.28), (0.72, 0.5), (0.52, mouth - 0.12), (0.42, mouth - 0.02), (0.3, mouth + 0.17)]
    top = sketch.curve(*side, (0.0, mouth + 0.2), *[(-x, y) for x, y in reversed(side)])
    area = canvas.polygon(np.concatenate((low, top)), soft=sketch.length(0.03))
    canvas.blend(area, colour, 0.5 + 0.42 * density)
    canvas.join(sketch.figure, area)
    rng = stream(face.appearance.texture_seed, "beard")
    part = rng.uniform(0.35, 1.0, (120, 1))
    feet = low[rng.integers(0, len(low), 120)] * part + centre * (1 - part)
    lean = rng.normal(0, 0.03, (120, 1)) * sketch.axes[0] + 0.09 * sketch.axes[1]
    _draw_whiskers(sketch, np.stack((feet, feet + lean), axis=1), area, colour)


def _draw_moustache(sketch: Sketch, density: float) -> None:
    face, canvas, points = sketch.face, sketch.canvas, sketch.landmarks
    colour = face.appearance.beard
    lip = smooth_curve(points[48:55]) + sketch.shift(0, 0.012)
    top = np.stack(
        (
            points[54] + sketch.shift(0.05, 0.03),
            points[35] + sketch.shift(0.03, 0.08),
            points[33] + sketch.shift(0, 0.045),
            points[31] + sketch.shift(-0.03, 0.08),
            points[48] + sketch.shift(-0.05, 0.03),
        )
    )
    area = canvas.polygon(np.concatenate((lip, smooth_curve(top))), soft=sketch.length(0.012))
    canvas.blend(area, colour, 0.6 + 0.38 * density)
    rng = stream(face.appearance.texture_seed, "moustache")
    part, lean = rng.uniform(0, 0.5, (28, 1)), rng.uniform(-1, 1, (28, 1))
    feet = points[51] * (1 - part) + points[33] * part + 0.3 * lean * sketch.axes[0]
    tips = feet + 0.08 * np.sign(lean) * sketch.axes[0] + 0.07 * sketch.axes[1]
    _draw_whiskers(sketch, np.stack((feet, tips), axis=1), area, colour)


def _draw_whiskers(sketch: Sketch, hairs: np.ndarray, area: Stencil | None, colour: Colour) -> None:
    """Half of the hairs lighter, half darker than the beard."""
    canvas, half = sketch.canvas, len(hairs) // 2
    canvas.blend(canvas.lines(hairs[:half], width=sketch.length(0.014), within=area), shade(colour, 1.45), 0.4)
    canvas.blend(canvas.lines(hairs[half:], width=sketch.length(0.014), within=area), shade(colour, 0.6), 0.5)
