"""Hair on the head: back, cap, fringe, strands and locks."""

from __future__ import annotations

import numpy as np

from facekit.data.synthetic.canvas import Stencil
from facekit.data.synthetic.geometry import crown_outline, half_width, smooth_curve
from facekit.data.synthetic.sampling import stream
from facekit.data.synthetic.sketch import Sketch, mix, shade

_FALLING = ("long", "medium")
_SWAY = 7.5


def draw_back_hair(sketch: Sketch) -> None:
    """The hair behind head and shoulders."""
    face, canvas = sketch.face, sketch.canvas
    hair = face.hair
    if hair.style in _FALLING:
        outline = _falling_outline(sketch)
    elif hair.style == "curly":
        outline = _curly_outline(sketch)
    elif hair.style == "tied":
        knot = np.array([0.15 * hair.parting, -face.shape.crown - 0.14])
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        ring = knot + 0.3 * np.stack((np.cos(turn), np.sin(turn)), axis=-1)
        outline = sketch.frame.project(ring[:, 0], ring[:, 1], -0.2)
    else:
        return
    back = canvas.polygon(outline)
    canvas.blend(back, shade(face.appearance.hair, 0.72))
    canvas.join(sketch.figure, back)
    if hair.style in _FALLING:
        rng = stream(face.appearance.texture_seed, "back")
        _draw_strands(sketch, _falling_strands(sketch, rng), back, 0.5)


def draw_hair(sketch: Sketch) -> None:
    """The hair in front of the skull, with its shadow on the forehead."""
    face, canvas = sketch.face, sketch.canvas
    hair = face.hair
    hairline, outer = _hairline(sketch), _outer_edge(sketch)
    if hair.style == "receding":
        cap = canvas.polygon(*_side_tufts(sketch), soft=sketch.length(0.015))
    else:
        cap = canvas.polygon(np.concatenate((outer, hairline[::-1])), soft=sketch.length(0.012))
        edge = hairline + sketch.shift(0, 0.04)
        shadow = canvas.lines(edge, width=sketch.length(0.1), soft=sketch.length(0.05), within=sketch.head)
        canvas.scale(shadow, (0.82, 0.78, 0.76))
    canvas.blend(cap, face.appearance.hair, 0.78 if hair.style == "buzz" else 1.0)
    sketch.add_front(cap)
    rng = stream(face.appearance.texture_seed, "strands")
    if hair.style == "curly":
        _draw_strands(sketch, _curls(sketch, rng), cap, 0.42)
    elif hair.style != "buzz":
        _draw_strands(sketch, _combed(sketch, rng, outer, hairline), cap, 0.58)
    if hair.style not in ("receding", "buzz"):
        _draw_shine(sketch, cap)
    if hair.style in _FALLING:
        _draw_locks(sketch, rng)
    if hair.bangs:
        _draw_bangs(sketch, rng)


def _hairline(sketch: Sketch) -> np.ndarray:
    """From the left ear over the forehead to the right ear, (K, 2)."""
    face = sketch.face
    wide, hair = face.shape.width, face.hair
    top = -hair.hairline * face.shape.crown
    temple = 0.08 if face.masculine else 0.03
    side = [
        (0.34, top - temple),
        (0.62, 0.9 * top),
        (0.84 * wide, 0.5 * top),
        (0.9 * wide, -0.12),
        (0.985 * wide, 0.12),
    ]
    return sketch.curve(*[(-x, y) for x, y in reversed(side)], (0.12 * hair.parting, top), *side)


def _outer_edge(sketch: Sketch) -> np.ndarray:
    """Outside of the hair from the left ear over the top to the right ear."""
    face = sketch.face
    skull, grown = crown_outline(face.shape), crown_outline(face.shape, face.hair.volume)
    rise = np.sqrt(np.sin(np.linspace(0, np.pi, 17)).clip(0.0))
    outline = skull + (grown - skull) * (0.35 + 0.65 * rise)[:, None]
    if face.hair.style == "curly":
        rng = stream(face.appearance.texture_seed, "edge")
        outline = outline * (1 + 0.05 * rng.normal(size=(17, 1)) * rise[:, None])
    outline = np.concatenate(([[outline[0, 0], 0.12]], outline, [[outline[-1, 0], 0.12]]))
    return smooth_curve(sketch.frame.project_contour(outline, -0.1))


def _falling_outline(sketch: Sketch) -> np.ndarray:
    face = sketch.face
    hair, shape = face.hair, face.shape
    rows = np.linspace(0.1, hair.length, 9)
    sway = 0.07 * hair.wave * np.sin(rows * _SWAY)
    part = rows / hair.length
    flare = 0.1 * part if hair.style == "long" else -0.06 * part**3
    reach = shape.width + hair.volume * 0.9 + flare
    right = np.stack((reach + sway, rows), axis=-1)
    left = np.stack((-reach - np.roll(sway, 1), rows), axis=-1)
    low = hair.length
    bottom = np.array([[0.5, low + 0.06], [0.0, low + 0.02], [-0.5, low + 0.06]])
    outline = np.concatenate((crown_outline(shape, hair.volume, 15), right, bottom, left[::-1]))
    return smooth_curve(sketch.frame.project_contour(outline, -0.25), 4, closed=True)


def _curly_outline(sketch: Sketch) -> np.ndarray:
    face = sketch.face
    rng = stream(face.appearance.texture_seed, "curly")
    angle = np.linspace(np.pi * 1.16, -np.pi * 0.16, 46)
    bumps = 1 + 0.045 * np.sin(np.arange(46) * 2.1 + rng.uniform(0, 6)) + 0.02 * rng.normal(size=46)
    reach = np.array([face.shape.width + face.hair.volume, face.shape.crown + face.hair.volume])
    outline = np.stack((np.cos(angle), -np.sin(angle)), axis=-1) * reach * bumps[:, None]
    return smooth_curve(sketch.frame.project_contour(outline, -0.2), 3, closed=True)


def _side_tufts(sketch: Sketch) -> list[np.ndarray]:
    """Hair that is left at the sides of a bald head."""
    shape, volume = sketch.face.shape, sketch.face.hair.volume
    rows = np.array([0.14, -0.25, -0.62, -0.9])
    outer = half_width(shape, rows) + volume * np.array([0.4, 1.0, 0.8, 0.0])
    inner = np.array([(0.7 * shape.width, -0.72), (0.82 * shape.width, -0.4), (0.92 * shape.width, 0.1)])
    tufts = []
    for side in (-1.0, 1.0):
        edge = sketch.frame.project_contour(np.stack((side * outer, rows), axis=-1), -0.1)
        near = sketch.frame.project_surface(inner * (side, 1.0))
        tufts.append(smooth_curve(np.concatenate((edge, near)), closed=True))
    return tufts


def _combed(sketch: Sketch, rng: np.random.Generator, outer: np.ndarray, hairline: np.ndarray) -> np.ndarray:
    """Strands from the parting to the edges, (n, K, 2)."""
    hair = sketch.face.hair
    crown = sketch.on_face((0.35 * hair.parting, -0.98 * sketch.face.shape.crown))[0]
    fraction, part = rng.uniform(0, 1, (2, 42))
    end = hairline[(fraction * (len(hairline) - 1)).astype(int)]
    side = outer[(fraction * (len(outer) - 1)).astype(int)]
    part = part[:, None]
    target = end * (1 - part) + side * part
    ripple = sketch.length(0.05 * hair.wave) * rng.normal(size=(42, 2))
    bend = 0.5 * (crown + target) + 0.35 * (side - end) * (0.4 + 0.6 * part) + ripple
    return smooth_curve(np.stack((np.broadcast_to(crown, end.shape), bend, target), axis=1), 4)


def _curls(sketch: Sketch, rng: np.random.Generator) -> np.ndarray:
    """Open rings all over the hair, (n, K, 2)."""
    shape, volume = sketch.face.shape, sketch.face.hair.volume
    angle, far = rng.uniform(0, np.pi, 56), rng.uniform(0.66, 1.0, 56)
    points = np.stack(
        (far * np.cos(angle) * (shape.width + volume), -far * np.sin(angle) * (shape.crown + volume)), axis=-1
    )
    centres = sketch.frame.project_contour(points, -0.1)
    turn = np.linspace(0, 1.3 * np.pi, 7) + rng.uniform(0, 6, (56, 1))
    radius = sketch.length(1.0) * rng.uniform(0.06, 0.12, (56, 1, 1))
    return centres[:, None] + radius * np.stack((np.cos(turn), np.sin(turn)), axis=-1)


def _falling_strands(sketch: Sketch, rng: np.random.Generator) -> np.ndarray:
    hair, shape = sketch.face.hair, sketch.face.shape
    rows = np.linspace(-0.6, hair.length, 8)
    fraction = rng.uniform(-1, 1, (30, 1))
    x = np.sign(fraction) * (0.72 + 0.38 * np.abs(fraction)) * (shape.width + hair.volume)
    x = x + 0.08 * hair.wave * np.sin(rows * _SWAY + rng.normal(0, 0.4, (30, 1)))
    points = np.stack((x, np.broadcast_to(rows, x.shape)), axis=-1)
    return smooth_curve(sketch.frame.project_contour(points, -0.2), 3)


def _draw_locks(sketch: Sketch, rng: np.random.Generator) -> None:
    """Locks that frame the face in front of the ears."""
    face, canvas = sketch.face, sketch.canvas
    hair, shape = face.hair, face.shape
    rows = np.linspace(-0.8, min(hair.length, 1.9), 9)
    skull = half_width(shape, rows)
    fall = np.clip((rows + 0.8) / 0.8, 0.0, 1.0)
    shapes, strands = [], []
    for side in (-1.0, 1.0):
        sway = 0.06 * hair.wave * np.sin(rows * _SWAY + (side > 0)) * fall
        outer = side * (skull + hair.volume * (0.3 + 0.5 * fall) + sway)
        inner = side * (skull * (0.84 + 0.07 * np.sin(np.linspace(0, np.pi, 9))) + 0.8 * sway)
        edge = sketch.frame.project_contour(np.stack((outer, rows), axis=-1), -0.05)
        near = sketch.frame.project_contour(np.stack((inner, rows), axis=-1), 0.1)
        shapes.append(smooth_curve(np.concatenate((edge, near[::-1])), 4, closed=True))
        part = rng.uniform(0, 1, (6, 1, 1))
        strands.append(smooth_curve(edge * part + near * (1 - part), 3))
    locks = canvas.polygon(*shapes, soft=sketch.length(0.01))
    canvas.blend(locks, face.appearance.hair)
    sketch.add_front(locks)
    _draw_strands(sketch, np.concatenate(strands), locks, 0.58)


def _draw_bangs(sketch: Sketch, rng: np.random.Generator) -> None:
    face, canvas = sketch.face, sketch.canvas
    top = -0.96 * face.shape.crown
    columns = np.linspace(-0.8, 0.8, 15)
    low = face.shape.brow_height - 0.12 + 0.05 * rng.normal(size=15)
    low = low + 0.12 * columns * face.hair.parting + 0.05 * columns**2
    fringe = sketch.curve(*zip(columns, low, strict=True), lift=0.06)
    root = sketch.curve((0.86, -0.62), (0.6, 0.85 * top), (0.0, top), (-0.6, 0.85 * top), (-0.86, -0.62), lift=0.06)
    edge = fringe + sketch.shift(0, 0.04)
    shadow = canvas.lines(edge, width=sketch.length(0.08), soft=sketch.length(0.03), within=sketch.head)
    canvas.scale(shadow, (0.78, 0.73, 0.71))
    area = canvas.polygon(np.concatenate((fringe, root)), soft=sketch.length(0.012))
    canvas.blend(area, shade(face.appearance.hair, 1.04))
    sketch.add_front(area)
    centre = sketch.on_face((0.3 * face.hair.parting, top), lift=0.06)[0]
    end = fringe[(rng.uniform(0, 1, 30) * (len(fringe) - 1)).astype(int)]
    bend = 0.5 * (centre + end) + 0.3 * (end - centre) * (1.0, 0.0)
    strands = smooth_curve(np.stack((np.broadcast_to(centre, end.shape), bend, end), axis=1), 4)
    _draw_strands(sketch, strands, area, 0.58)


def _draw_strands(sketch: Sketch, strands: np.ndarray, area: Stencil | None, opacity: float) -> None:
    """Two thirds of the strands darker, one third lighter than the hair."""
    canvas, colour = sketch.canvas, sketch.face.appearance.hair
    dark = 2 * len(strands) // 3
    width = sketch.length(0.022)
    lighter = mix(shade(colour, 1.25), (255, 240, 220), 0.1)
    canvas.blend(canvas.lines(strands[:dark], width=width, within=area), shade(colour, 0.66), opacity)
    canvas.blend(canvas.lines(strands[dark:], width=width, within=area), lighter, opacity)


def _draw_shine(sketch: Sketch, area: Stencil | None) -> None:
    """A soft band of light over the crown."""
    y = -0.98 * sketch.face.shape.crown
    side = 0.5 * np.sign(sketch.face.scene.light_side)
    arc = sketch.curve((side - 0.3, y + 0.1), (side, y), (side + 0.3, y + 0.1))
    band = sketch.canvas.lines(arc, width=sketch.length(0.16), soft=sketch.length(0.06), within=area)
    sketch.canvas.blend(band, mix(sketch.face.appearance.hair, (255, 248, 236), 0.45), 0.34)
