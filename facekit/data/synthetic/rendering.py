"""Rendering: parameters to pixels, and forged pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from facekit.data.synthetic.accessories import draw_earrings, draw_glasses
from facekit.data.synthetic.beard import draw_beard
from facekit.data.synthetic.canvas import Canvas, load_opencv
from facekit.data.synthetic.creases import draw_creases
from facekit.data.synthetic.features import draw_brows, draw_eyes, draw_mouth, draw_nose
from facekit.data.synthetic.geometry import HeadFrame, smooth_curve
from facekit.data.synthetic.hair import draw_back_hair, draw_hair
from facekit.data.synthetic.hats import draw_hat
from facekit.data.synthetic.parameters import FaceParameters, Forgery
from facekit.data.synthetic.sampling import stream
from facekit.data.synthetic.scene import develop, draw_background, light_figure
from facekit.data.synthetic.sketch import Sketch
from facekit.data.synthetic.skin import draw_body, draw_complexion, draw_head

Picture = tuple[np.ndarray, np.ndarray]


def render_face(face: FaceParameters, landmarks: np.ndarray, image_size: int) -> Picture:
    """Draw a face.

    Args:
        face: What to draw.
        landmarks: Its projected landmarks, shape (68, 2), through which the features are drawn.
        image_size: Side of the picture in pixels.

    Returns:
        The picture, uint8 of shape (S, S, 3), and where it is manipulated, bool of shape (S, S): all false for a
        genuine one. Outside that mask a forged picture equals the genuine one exactly.
    """
    sketch = _paint(face, landmarks, image_size)
    picture = develop(sketch.canvas.shrink(), face.scene)
    if face.forgery is None:
        return picture, np.zeros((image_size, image_size), dtype=bool)
    return _forge(picture, sketch.front, landmarks, face, face.forgery)


def _paint(face: FaceParameters, landmarks: np.ndarray, image_size: int) -> Sketch:
    """Everything but the camera."""
    sketch = Sketch(face, Canvas(image_size), HeadFrame(face.shape, face.pose), landmarks)
    draw_background(sketch.canvas, face.scene)
    draw_back_hair(sketch)
    draw_body(sketch)
    _paint_face(sketch)
    draw_hair(sketch)
    draw_earrings(sketch)
    draw_glasses(sketch)
    draw_hat(sketch)
    light_figure(sketch, face.scene)
    return sketch


def _paint_face(sketch: Sketch) -> None:
    """Head and features, without anything in front of them."""
    draw_head(sketch)
    draw_complexion(sketch)
    draw_creases(sketch)
    draw_nose(sketch)
    draw_beard(sketch)
    draw_mouth(sketch)
    draw_eyes(sketch)
    draw_brows(sketch)


def _forge(
    genuine: np.ndarray, front: np.ndarray, landmarks: np.ndarray, face: FaceParameters, forgery: Forgery
) -> Picture:
    """Paste a part of another person's face, at that picture's sharpness, behind hair and hat."""
    cv2, size = load_opencv(), len(genuine)
    other = replace(face, appearance=forgery.appearance, signs=forgery.signs, scene=forgery.scene, forgery=None)
    sketch = Sketch(other, Canvas(size), HeadFrame(face.shape, face.pose), landmarks)
    sketch.canvas.pixels[:] = np.array(other.appearance.skin, dtype=np.float32)[:, None, None]
    _paint_face(sketch)
    draw_glasses(sketch)
    light_figure(sketch, other.scene)
    small = max(8, round(size * forgery.resolution))
    donor = cv2.resize(sketch.canvas.shrink(), (small, small), interpolation=cv2.INTER_AREA)
    donor = cv2.resize(donor, (size, size), interpolation=cv2.INTER_LINEAR)
    region = smooth_curve(_region(landmarks, forgery), closed=True)
    stencil = Canvas(size, supersampling=1).polygon(region, soft=sketch.length(forgery.feather))
    cover = np.zeros((size, size), dtype=np.float32)
    sketch.canvas.join(cover, stencil)
    cover *= 1.0 - cv2.resize(front, (size, size), interpolation=cv2.INTER_AREA)
    cover = np.rint(cover * (255 * forgery.strength)) / 255
    mask = cover > 0
    mixed = genuine + (donor - genuine) * cover[..., None].astype(np.float32)
    return np.where(mask[..., None], np.clip(np.rint(mixed), 0, 255).astype(np.uint8), genuine), mask


def _region(points: np.ndarray, forgery: Forgery) -> np.ndarray:
    """Corners of the replaced part, given the landmarks (68, 2): (K, 2)."""
    if forgery.kind == "face_patch":
        hull = np.concatenate((points[3:14], points[[26, 24, 19, 17]]))
    elif forgery.kind == "half_face":
        left = stream(forgery.seed, "side").random() < 0.5
        hull = points[[*range(1, 9), 33, 27, 21, 19, 17]] if left else points[[*range(15, 7, -1), 33, 27, 22, 24, 26]]
    elif forgery.kind == "eyes":
        hull = np.concatenate((points[17:27], points[[45, 46, 29, 41, 36]] + (points[29] - points[27]) * 0.45))
    else:
        hull = np.concatenate((points[[31, 33, 35]], points[[13, 12, 10, 8, 6, 4, 3]] * 0.85 + points[57] * 0.15))
    middle = hull.mean(axis=0)
    wobble = stream(forgery.seed, "outline").uniform(0.86, 1.0, (len(hull), 1))
    return middle + (hull - middle) * wobble
