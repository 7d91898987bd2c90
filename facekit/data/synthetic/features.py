"""Eyes, brows, nose and mouth, drawn through the projected landmarks."""

from __future__ import annotations

import numpy as np

from facekit.data.synthetic.canvas import Stencil
from facekit.data.synthetic.geometry import HeadFrame, smooth_curve
from facekit.data.synthetic.parameters import FaceParameters
from facekit.data.synthetic.sampling import stream
from facekit.data.synthetic.sketch import Sketch, mix, shade

_WHITE = (246.0, 243.0, 240.0)
_LASH = (34.0, 24.0, 22.0)
_NOSE_SIDE = np.array([(0.03, -0.11), (-0.025, -0.03), (0.02, 0.02)])


def pupils_of(face: FaceParameters, landmarks: np.ndarray) -> np.ndarray:
    """Positions of the two pupils: between the corners of the eyes, moved by the gaze.

    Args:
        face: The face.
        landmarks: Its projected landmarks, shape (68, 2).

    Returns:
        Left and right of the picture, shape (2, 2).
    """
    across, down, _ = HeadFrame(face.shape, face.pose).axes
    middles = 0.5 * (landmarks[[36, 42]] + landmarks[[39, 45]])
    sideways = face.gaze[0] * face.shape.eye_width * across
    return middles + sideways + (face.gaze[1] - 0.12) * face.shape.eye_open * down


def draw_eyes(sketch: Sketch) -> None:
    """Eyeballs, irises, lids, lashes and eye make-up, both eyes at once."""
    eyes = np.stack((sketch.landmarks[36:42], sketch.landmarks[42:48]))
    upper, lower = smooth_curve(eyes[:, :4]), smooth_curve(eyes[:, [3, 4, 5, 0]])
    _draw_lids(sketch, upper)
    _draw_balls(sketch, upper, lower)
    _draw_lashes(sketch, upper, lower)


def draw_brows(sketch: Sketch) -> None:
    """Brows as tapered shapes with hairs."""
    canvas, face = sketch.canvas, sketch.face
    colour = face.appearance.brow
    rng = stream(face.appearance.texture_seed, "brows")
    spines = np.stack((smooth_curve(sketch.landmarks[17:22], 4), smooth_curve(sketch.landmarks[22:27], 4)))
    taper = np.linspace(0.35, 1.0, spines.shape[1])
    half = 0.5 * face.shape.brow_thickness * np.stack((taper, taper[::-1]))[..., None] * sketch.axes[1]
    outlines = np.concatenate((spines - half, (spines + half)[:, ::-1]), axis=1)
    canvas.blend(canvas.polygon(outlines, soft=sketch.length(0.01)), colour, 0.72)
    outward = np.array([-1.0, 1.0])[:, None, None] * sketch.axes[0]
    feet = spines + half * rng.uniform(0.2, 1.0, (2, spines.shape[1], 1))
    lean = 0.05 * rng.uniform(0.6, 1.3, (2, spines.shape[1], 1)) * outward - 0.03 * sketch.axes[1]
    hairs = np.stack((feet, feet - 1.5 * half + lean), axis=2).reshape(-1, 2, 2)
    canvas.blend(canvas.lines(hairs, width=sketch.length(0.016)), shade(colour, 0.7), 0.6)


def draw_nose(sketch: Sketch) -> None:
    """Bridge, tip, wings and nostrils as light and shadow."""
    canvas, head, length = sketch.canvas, sketch.head, sketch.length
    bridge, base = sketch.landmarks[27:31], sketch.landmarks[31:36]
    lit = -1.0 if sketch.face.scene.light_side > 0 else 1.0
    ridge = smooth_curve(bridge)
    dark = ridge + sketch.shift(0.07 * lit, 0.0)
    canvas.scale(canvas.lines(dark, width=length(0.09), soft=length(0.035), within=head), (0.84, 0.8, 0.78))
    canvas.scale(canvas.lines(ridge, width=length(0.05), soft=length(0.025), within=head), 1.09)
    left = base[0] + _NOSE_SIDE @ sketch.axes
    right = base[4] + (_NOSE_SIDE * (-1.0, 1.0))[::-1] @ sketch.axes
    middle = base[1:4] + np.array([(0.0, 0.0), (0.0, 0.015), (0.0, 0.0)]) @ sketch.axes
    wings = smooth_curve(np.concatenate((left, middle, right)))
    under = canvas.polygon(wings[8:-8] + sketch.shift(0.0, 0.03), soft=length(0.035), within=head)
    canvas.scale(under, (0.8, 0.74, 0.72))
    canvas.scale(canvas.lines(wings, width=length(0.024), soft=length(0.006), within=head), (0.62, 0.52, 0.5))
    outer, inner = base[[0, 4]], base[[1, 3]]
    centre = 0.35 * outer + 0.65 * inner - sketch.shift(0.0, 0.012)
    along = 0.4 * (inner - outer)
    ring = (centre - along, centre - sketch.shift(0, 0.025), centre + along, centre + sketch.shift(0, 0.018))
    holes = smooth_curve(np.stack(ring, axis=1), closed=True)
    canvas.scale(canvas.polygon(holes, soft=length(0.008), within=head), (0.38, 0.26, 0.25))
    tip = bridge[3] + sketch.shift(-0.02 * lit, -0.01)
    canvas.blend(canvas.disc(tip, length(0.055), soft=length(0.03), within=head), (255, 244, 236), 0.22)


def draw_mouth(sketch: Sketch) -> None:
    """Lips, teeth, tongue and the shadow below the lower lip."""
    canvas, face, points, length = sketch.canvas, sketch.face, sketch.landmarks, sketch.length
    lipstick = face.adornment.lipstick
    colour = mix(face.appearance.lips, lipstick, 0.95) if lipstick else face.appearance.lips
    below = points[57] + np.array([(-0.15, 0.055), (0.0, 0.075), (0.15, 0.055)]) @ sketch.axes
    shadow = canvas.lines(smooth_curve(below), width=length(0.05), soft=length(0.03), within=sketch.head)
    canvas.scale(shadow, (0.85, 0.8, 0.79))
    canvas.blend(canvas.polygon(smooth_curve(points[48:60], closed=True), soft=length(0.004)), colour)
    upper = np.concatenate((smooth_curve(points[48:55]), smooth_curve(points[[64, 63, 62, 61, 60]])))
    canvas.scale(canvas.polygon(upper, soft=length(0.006)), (0.84, 0.78, 0.79))
    opening = float(np.linalg.norm(points[66] - points[62]))
    if opening > length(0.02):
        _draw_inside(sketch, canvas.polygon(smooth_curve(points[60:68], closed=True)), opening)
    if opening < length(0.05):
        seam = smooth_curve(points[[48, 60, 61, 62, 63, 64, 54]])
        canvas.scale(canvas.lines(seam, width=length(0.026), soft=length(0.004)), (0.45, 0.34, 0.34))
    shine = 0.55 * points[57] + 0.45 * points[66] + np.array([(-0.09, 0.0), (0.07, 0.0)]) @ sketch.axes
    gloss = canvas.lines(shine, width=length(0.03), soft=length(0.014))
    canvas.blend(gloss, (255, 236, 232), 0.42 if lipstick else 0.2)
    canvas.scale(canvas.disc(points[[48, 54]], length(0.022), soft=length(0.014)), (0.66, 0.56, 0.55))


def _draw_inside(sketch: Sketch, gap: Stencil | None, opening: float) -> None:
    canvas, points = sketch.canvas, sketch.landmarks
    canvas.blend(gap, (62, 20, 24))
    upper = smooth_curve(points[60:65])
    height = min(0.55 * opening / sketch.length(1.0), 0.085)
    teeth = np.concatenate((upper, (upper + sketch.shift(0.0, height))[::-1]))
    canvas.blend(canvas.polygon(teeth, soft=sketch.length(0.004), within=gap), (240, 235, 226))
    if opening > sketch.length(0.12):
        tongue = canvas.disc(points[66], 0.42 * opening, soft=sketch.length(0.02), within=gap)
        canvas.blend(tongue, (178, 78, 84), 0.8)


def _draw_lids(sketch: Sketch, upper: np.ndarray) -> None:
    """Eye shadow and the fold of the lid, which comes down with age."""
    canvas, face = sketch.canvas, sketch.face
    height = 0.075 + 0.03 * (1 - face.signs.bags)
    colour = face.adornment.eye_shadow
    if colour is not None:
        crease = upper - sketch.shift(0.0, 1.6 * height)
        lids = np.concatenate((upper + sketch.shift(0.0, 0.01), crease[:, ::-1]), axis=1)
        canvas.blend(canvas.polygon(lids, soft=sketch.length(0.03), within=sketch.head), colour, 0.85)
    folds = upper[:, 2:-2] - sketch.shift(0.0, 0.62 * height)
    groove = canvas.lines(folds, width=sketch.length(0.022), soft=sketch.length(0.008), within=sketch.head)
    canvas.scale(groove, (0.74, 0.64, 0.62))


def _draw_balls(sketch: Sketch, upper: np.ndarray, lower: np.ndarray) -> None:
    canvas, face = sketch.canvas, sketch.face
    pupils = pupils_of(face, sketch.landmarks)
    opening = canvas.polygon(np.concatenate((upper, lower[:, 1:-1]), axis=1))
    canvas.blend(opening, _WHITE)
    shadow = canvas.lines(upper, width=sketch.length(0.07), soft=sketch.length(0.02), within=opening)
    canvas.scale(shadow, (0.7, 0.68, 0.7))
    radius = sketch.length(0.56 * face.shape.eye_width)
    iris = face.appearance.iris
    canvas.blend(canvas.disc(pupils, radius, within=opening), shade(iris, 0.55))
    canvas.blend(canvas.disc(pupils, radius * 0.86, within=opening), iris)
    glow = pupils + sketch.shift(0.0, 0.3 * face.shape.eye_width)
    canvas.blend(canvas.disc(glow, radius * 0.5, soft=radius * 0.25, within=opening), shade(iris, 1.7), 0.55)
    canvas.blend(canvas.disc(pupils, radius * 0.45, within=opening), (12, 10, 12))
    glint = pupils + sketch.shift(0.055 * np.sign(face.scene.light_side), -0.05)
    canvas.blend(canvas.disc(glint, radius * 0.27, within=opening), (255, 255, 255), 0.95)


def _draw_lashes(sketch: Sketch, upper: np.ndarray, lower: np.ndarray) -> None:
    canvas, face, length = sketch.canvas, sketch.face, sketch.length
    canvas.blend(canvas.lines(lower, width=length(0.02), soft=length(0.006)), (120, 70, 62), 0.5)
    made_up = face.adornment.eye_shadow is not None
    width = 0.036 + 0.018 * made_up + (0.0 if face.masculine else 0.008)
    canvas.blend(canvas.lines(upper, width=length(width), soft=length(0.004)), _LASH, 0.92)
    if made_up or not face.masculine:
        outer = np.stack((upper[0, 0], upper[1, -1]))
        flicks = np.stack((outer, outer + np.array([(-0.06, -0.045), (0.06, -0.045)]) @ sketch.axes), axis=1)
        canvas.blend(canvas.lines(flicks, width=length(0.028 + 0.014 * made_up)), _LASH, 0.9)
