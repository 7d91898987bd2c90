"""Hats: a beanie, a cap and a brimmed hat, drawn over the hair."""

from __future__ import annotations

import numpy as np

from facekit.data.synthetic.canvas import Stencil
from facekit.data.synthetic.geometry import crown_outline, smooth_curve
from facekit.data.synthetic.sketch import Sketch, shade


def draw_hat(sketch: Sketch) -> None:
    """The hat, if one is worn, and its shadow on the forehead."""
    face, canvas = sketch.face, sketch.canvas
    kind = face.adornment.hat
    if kind is None:
        return
    line = -0.6 * face.shape.crown
    grow = max(face.hair.volume * 0.6, 0.05) + (0.14 if kind == "brimmed" else 0.1)
    top = crown_outline(face.shape, grow)
    top = top[top[:, 1] < line * 0.86]
    dome = smooth_curve(sketch.frame.project_contour(top))
    left, right = 0.98 * top[0, 0], 0.98 * top[-1, 0]
    edge = [(right, line * 0.86), (0.55, line * 1.02), (0.0, line * 1.05), (-0.55, line * 1.02), (left, line * 0.86)]
    band = sketch.curve(*edge, lift=0.1)
    low = band + sketch.shift(0.0, 0.06)
    canvas.scale(
        canvas.lines(low, width=sketch.length(0.12), soft=sketch.length(0.05), within=sketch.head), (0.7, 0.66, 0.66)
    )
    body = canvas.polygon(np.concatenate((dome, band)))
    canvas.blend(body, face.adornment.hat_colour)
    sketch.add_front(body)
    if kind == "beanie":
        _finish_beanie(sketch, band, dome, body)
    elif kind == "cap":
        _finish_cap(sketch, band, line, body)
    else:
        _finish_brim(sketch, band, line)


def _finish_beanie(sketch: Sketch, band: np.ndarray, dome: np.ndarray, body: Stencil | None) -> None:
    canvas, colour = sketch.canvas, sketch.face.adornment.hat_colour
    up = sketch.shift(0.0, -0.3)
    cuff = canvas.polygon(np.concatenate((band, (band + up)[::-1])))
    canvas.blend(cuff, shade(colour, 1.14))
    sketch.add_front(cuff)
    canvas.scale(canvas.lines(band + up, width=sketch.length(0.04), soft=sketch.length(0.012), within=body), 0.7)
    ribs = np.stack((band[::2], band[::2] + 0.95 * up), axis=1)
    canvas.scale(canvas.lines(ribs, width=sketch.length(0.022), within=cuff), 0.82)
    top = dome[len(dome) // 2] + sketch.shift(0, -0.05)
    bobble = canvas.disc(top, sketch.length(0.17), soft=sketch.length(0.012))
    canvas.blend(bobble, shade(colour, 1.25))
    sketch.add_front(bobble)


def _finish_cap(sketch: Sketch, band: np.ndarray, line: float, body: Stencil | None) -> None:
    face, canvas, colour = sketch.face, sketch.canvas, sketch.face.adornment.hat_colour
    across = (-0.5, 0.0, 0.5)
    seams = [sketch.curve((x, line), (x * 1.1, 1.5 * line), (0.0, -face.shape.crown), lift=0.1) for x in across]
    canvas.scale(canvas.lines(*seams, width=sketch.length(0.02), within=body), 0.78)
    turn, nod = np.sin(np.deg2rad(face.pose.yaw)), np.sin(np.deg2rad(face.pose.pitch + 4))
    root = band[2:-2]
    bow = np.sin(np.linspace(0, np.pi, len(root)))[:, None].clip(0.0) ** 0.6
    tip = root + bow * sketch.shift(0.5 * turn, 0.16 + 0.3 * max(0.0, nod))
    visor = np.concatenate((root + sketch.shift(0, -0.02), tip[::-1]))
    under = canvas.polygon(visor + sketch.shift(0.0, 0.05), soft=sketch.length(0.03), within=sketch.head)
    canvas.scale(under, (0.66, 0.62, 0.62))
    area = canvas.polygon(visor)
    canvas.blend(area, shade(colour, 0.72))
    canvas.blend(canvas.lines(tip, width=sketch.length(0.025)), shade(colour, 1.2), 0.7)
    sketch.add_front(area)


def _finish_brim(sketch: Sketch, band: np.ndarray, line: float) -> None:
    face, canvas, colour = sketch.face, sketch.canvas, sketch.face.adornment.hat_colour
    ribbon = canvas.polygon(np.concatenate((band, (band + sketch.shift(0.0, -0.2))[::-1])))
    canvas.blend(ribbon, shade(colour, 0.5))
    turn, nod = np.sin(np.deg2rad(face.pose.yaw)), np.sin(np.deg2rad(face.pose.pitch))
    centre = np.asarray(face.pose.centre) + sketch.shift(0.3 * turn, line * 0.98)
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    rim = centre + np.stack((1.6 * np.cos(angle), (0.2 + 0.35 * nod) * np.sin(angle)), axis=-1) @ sketch.axes
    under = canvas.polygon(rim + sketch.shift(0, 0.1), soft=sketch.length(0.05), within=sketch.head)
    canvas.scale(under, (0.72, 0.68, 0.68))
    area = canvas.polygon(np.concatenate((rim[:19], band[::-1])))
    canvas.blend(area, shade(colour, 0.9))
    canvas.blend(canvas.lines(rim[:19], width=sketch.length(0.03)), shade(colour, 1.18), 0.8)
    sketch.add_front(area)
    sketch.add_front(ribbon)
