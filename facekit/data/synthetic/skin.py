"""Body, ears and head, and the colour of the skin: blush, eye sockets, freckles and spots."""

from __future__ import annotations

import numpy as np

from facekit.data.synthetic.canvas import Stencil
from facekit.data.synthetic.geometry import crown_outline, smooth_curve
from facekit.data.synthetic.sampling import stream
from facekit.data.synthetic.sketch import Sketch, mix, shade

_EAR = np.array(
    [(0.0, -1.0), (0.62, -1.02), (1.05, -0.55), (0.92, 0.15), (0.55, 0.85), (0.1, 1.0), (-0.5, 0.3), (-0.5, -0.6)]
)
_TURN = np.linspace(0, 2 * np.pi, 8, endpoint=False)
_RING = np.stack((np.cos(_TURN), np.sin(_TURN)), axis=-1)


def draw_body(sketch: Sketch) -> None:
    """Neck, shoulders and clothes, behind the head."""
    canvas, face = sketch.canvas, sketch.face
    scale = face.pose.scale
    throat, neck, shoulders = _body_outlines(sketch)
    neck_shape = canvas.polygon(smooth_curve(neck, closed=True))
    clothes = canvas.polygon(np.concatenate((smooth_curve(shoulders), throat[None] + [[0.0, 1.0]])))
    canvas.blend(neck_shape, shade(face.appearance.skin, 0.93))
    chin = smooth_curve(sketch.landmarks[2:15] + sketch.shift(-0.05 * np.sign(face.scene.light_side), 0.2))
    shadow = canvas.polygon(chin, soft=sketch.length(0.07), within=neck_shape)
    canvas.scale(shadow, (0.66, 0.6, 0.58))
    canvas.blend(clothes, face.adornment.clothes)
    neckline = smooth_curve(shoulders[2:7])
    canvas.blend(canvas.lines(neckline, width=sketch.length(0.12)), face.adornment.collar)
    fold = neckline + np.array([0.0, 0.07 * scale])
    canvas.scale(canvas.lines(fold, width=sketch.length(0.05), soft=sketch.length(0.02)), 0.75)
    canvas.join(sketch.figure, neck_shape, clothes)


def draw_head(sketch: Sketch) -> None:
    """Ears and the skin of the head; sets ``sketch.head``."""
    canvas, face = sketch.canvas, sketch.face
    skin = face.appearance.skin
    crown = sketch.frame.project_contour(crown_outline(face.shape))
    outline = smooth_curve(np.concatenate((sketch.landmarks[:17], crown[-2:0:-1])), closed=True)
    ears = np.stack([_ear(sketch, side) for side in (-1.0, 1.0)])
    ear_shape = canvas.polygon(ears)
    canvas.blend(ear_shape, mix(skin, (190, 90, 80), 0.1))
    middle = ears.mean(axis=1, keepdims=True)
    canvas.scale(canvas.polygon(middle + 0.55 * (ears - middle), soft=sketch.length(0.03)), (0.8, 0.7, 0.68))
    head = canvas.polygon(outline)
    canvas.blend(head, skin)
    sketch.head = head
    canvas.join(sketch.figure, head, ear_shape)


def draw_complexion(sketch: Sketch) -> None:
    """Soft colour on the skin: blush, light on the cheekbones, eye sockets, hollows, freckles and spots."""
    canvas, face = sketch.canvas, sketch.face
    shape, look = face.shape, face.appearance
    cheek = 0.5 * (shape.eye_height + shape.mouth_height) + 0.06 - 0.04 * sketch.unit("AU6")
    flush = look.flush + 0.25 * sketch.unit("AU6") + (0.45 if face.adornment.eye_shadow else 0.0)
    blush = _patches(sketch, sketch.on_face((-0.56, cheek), (0.56, cheek), lift=0.04), 0.2, 0.11)
    canvas.blend(blush, mix(look.skin, (214, 74, 78), 0.5), min(1.0, 0.62 * flush))
    canvas.scale(_patches(sketch, sketch.on_face((-0.56, cheek - 0.1), (0.56, cheek - 0.1)), 0.13, 0.08), 1.06)
    eyes = np.stack((sketch.landmarks[36:42].mean(axis=0), sketch.landmarks[42:48].mean(axis=0)))
    canvas.scale(_patches(sketch, eyes - sketch.shift(0, 0.04), 0.24, 0.09), (0.93, 0.89, 0.88))
    hollow = face.signs.hollow
    if hollow > 0:
        high, low = shape.brow_height - 0.06, cheek + 0.28
        centres = sketch.on_face((-0.7, low), (0.7, low), (-0.84, high), (0.84, high))
        canvas.scale(_patches(sketch, centres, 0.13, 0.1), 1 - np.array([0.14, 0.18, 0.18]) * hollow)
    _draw_speckles(sketch)


def _patches(sketch: Sketch, centres: np.ndarray, radius: float | np.ndarray, soft: float) -> Stencil | None:
    """Soft discs on the skin around points in the picture, (K, 2)."""
    outlines = centres[:, None] + sketch.length(1.0) * radius * _RING
    return sketch.canvas.polygon(outlines, soft=sketch.length(soft), within=sketch.head)


def _body_outlines(sketch: Sketch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base of the throat (2,), outline of the neck and line of the shoulders, each (K, 2)."""
    face, scale = sketch.face, sketch.face.pose.scale
    grown = float(np.clip((face.age - 3.0) / 15.0, 0.0, 1.0))
    broad = grown * (1.0 if face.masculine else 0.35)
    half = (0.44 + 0.14 * broad) * scale
    middle = np.asarray(face.pose.centre) + sketch.shift(0.0, 0.3)
    neck_top = np.asarray(face.pose.centre) + sketch.shift(0.0, 0.55)
    throat = np.array([0.6 * middle[0] + 0.2, middle[1] + (face.shape.chin + 0.1) * scale])
    base = np.array([[half, 0.0], [1.25 * half, 0.4], [-1.25 * half, 0.4], [-half, 0.0]])
    neck = np.concatenate((neck_top + base[[3, 0]], throat + base))
    wide, drop = (1.3 + 0.35 * grown + 0.2 * broad) * scale, 0.16 * scale
    side = np.array(
        [[1.12 * half, -0.12 * drop], [0.62 * wide, 0.75 * drop], [1.05 * wide, drop + 0.09], [1.25 * wide, 0.6]]
    )
    shoulders = throat + np.concatenate((side[::-1] * (-1.0, 1.0), [[0.0, 1.3 * drop]], side))
    return throat, neck, shoulders


def _ear(sketch: Sketch, side: float) -> np.ndarray:
    shape = sketch.face.shape
    turned = np.sin(np.deg2rad(sketch.face.pose.yaw)) * side
    wide = 0.13 * float(np.clip(1.0 - 2.2 * turned, 0.0, 1.3))
    edge = sketch.frame.project_contour(np.array([[side * shape.width * 0.97, 0.004 + 0.4 * shape.ear_size]]), 0.05)
    return smooth_curve(edge + (_EAR * (side * wide, shape.ear_size)) @ sketch.axes, closed=True)


def _draw_speckles(sketch: Sketch) -> None:
    canvas, face = sketch.canvas, sketch.face
    rng = stream(face.appearance.texture_seed, "speckles")
    freckles = int(60 * face.appearance.freckles)
    if freckles:
        points = np.stack((rng.normal(0, 0.4, freckles), rng.normal(0.22, 0.13, freckles)), axis=-1)
        centres = sketch.frame.project_surface(points.clip(-0.75, 0.75))
        canvas.scale(_patches(sketch, centres, 0.02, 0.006), (0.83, 0.7, 0.6))
    spots = int(16 * face.signs.spots)
    if spots:
        points = np.stack((rng.uniform(-0.8, 0.8, spots), rng.uniform(-0.95, 0.9, spots)), axis=-1)
        centres = sketch.frame.project_surface(points)
        canvas.scale(_patches(sketch, centres, rng.uniform(0.025, 0.055, (spots, 1, 1)), 0.015), (0.82, 0.74, 0.68))
