"""Glasses and earrings."""

from __future__ import annotations

import numpy as np

from facekit.data.synthetic.geometry import smooth_curve
from facekit.data.synthetic.sketch import Sketch, shade

_LENS_POWER = {"round": 2.0, "oval": 2.3, "square": 4.5}
_TURN = np.linspace(0, 2 * np.pi, 32, endpoint=False)
_HOOP = np.stack((np.cos(_TURN[::2]), 1.25 * np.sin(_TURN[::2])), axis=-1)


def draw_earrings(sketch: Sketch) -> None:
    """Hoops below the ears, in front of hair; a far turned head hides one."""
    face, canvas = sketch.face, sketch.canvas
    colour = face.adornment.earrings
    if colour is None:
        return
    turn = np.sin(np.deg2rad(face.pose.yaw))
    sides = np.array([side for side in (-1.0, 1.0) if turn * side <= 0.4])
    lobes = np.stack((sides * (face.shape.width + 0.06), np.full(len(sides), 0.1 + face.shape.ear_size)), axis=-1)
    centres = sketch.frame.project_contour(lobes) + np.array([0.0, sketch.length(0.15)])
    hoops = centres[:, None] + sketch.length(0.12) * _HOOP
    canvas.blend(canvas.lines(hoops, width=sketch.length(0.075), closed=True), shade(colour, 0.7))
    canvas.blend(canvas.lines(hoops, width=sketch.length(0.045), closed=True), colour)
    canvas.blend(canvas.disc(hoops[:, 10], sketch.length(0.03), soft=sketch.length(0.01)), (255, 255, 255), 0.8)


def draw_glasses(sketch: Sketch) -> None:
    """Frame, temples and a faint reflection; the eyes stay visible."""
    face, canvas = sketch.face, sketch.canvas
    if face.adornment.glasses is None:
        return
    colour, width = face.adornment.glasses_colour, sketch.length(0.068)
    rims = _rims(sketch)
    lens = canvas.polygon(rims)
    canvas.scale(lens, (0.93, 0.95, 0.97))
    shadow = rims + sketch.shift(0.0, 0.035)
    canvas.scale(
        canvas.lines(shadow, width=sketch.length(0.04), soft=sketch.length(0.015), within=sketch.head, closed=True), 0.8
    )
    canvas.blend(canvas.lines(rims, width=width, closed=True), colour)
    left, right = rims[0, 1], rims[1, 15]
    bridge = smooth_curve(np.stack((left, 0.5 * (left + right) + sketch.shift(0, -0.04), right)))
    temples = []
    for side, hinge in ((-1.0, rims[0, 17]), (1.0, rims[1, 31])):
        ear = sketch.frame.project_contour(np.array([[side * face.shape.width, face.shape.eye_height]]))[0]
        temples.append(np.stack((hinge, ear)))
    canvas.blend(canvas.lines(bridge, *temples, width=width), colour)
    canvas.blend(canvas.lines(rims[:, 18:26], width=sketch.length(0.018)), shade(colour, 2.2), 0.6)
    middle = rims.mean(axis=1)
    glare = np.stack((middle + sketch.shift(-0.18, 0.08), middle + sketch.shift(-0.06, -0.12)), axis=1)
    streak = canvas.lines(glare, width=sketch.length(0.04), soft=sketch.length(0.012), within=lens)
    canvas.blend(streak, (255, 255, 255), 0.3)


def _rims(sketch: Sketch) -> np.ndarray:
    """Outlines of the two lenses, left of the picture first: (2, 32, 2)."""
    shape, kind = sketch.face.shape, sketch.face.adornment.glasses
    power = 2.0 / _LENS_POWER[str(kind)]
    across = np.sign(np.cos(_TURN)) * np.abs(np.cos(_TURN)) ** power
    down = np.sign(np.sin(_TURN)) * np.abs(np.sin(_TURN)) ** power
    half = (0.31, 0.29 if kind == "round" else 0.22)
    x = np.array([[-1.0], [1.0]]) * (shape.eye_spacing + 0.02) + half[0] * across
    y = np.broadcast_to(shape.eye_height + 0.03 + half[1] * down, x.shape)
    return sketch.frame.project(x, y, 0.5 * sketch.frame.surface(0.8 * x, y) + 0.5)
