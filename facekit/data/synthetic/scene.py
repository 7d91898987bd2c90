"""Background, light and camera effects."""

from __future__ import annotations

import numpy as np

from facekit.data.synthetic.canvas import Canvas, load_opencv
from facekit.data.synthetic.parameters import Scene
from facekit.data.synthetic.sampling import stream
from facekit.data.synthetic.sketch import Sketch


def draw_background(canvas: Canvas, scene: Scene) -> None:
    """A gradient with soft shapes, as if out of focus.

    Args:
        canvas: An empty canvas.
        scene: Its colours and shapes.
    """
    cv2 = load_opencv()
    coarse = Canvas(max(16, canvas.size // 2), supersampling=1)
    top, bottom = (np.asarray(colour, dtype=np.float32)[:, None] for colour in scene.background)
    ramp = np.linspace(0, 1, coarse.side, dtype=np.float32)
    coarse.pixels[:] = (top + (bottom - top) * ramp)[:, :, None]
    rng = stream(scene.backdrop_seed, "background")
    for _ in range(scene.blobs):
        centre, radius = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.2)
        light = rng.uniform(0.8, 1.2)
        coarse.scale(coarse.disc(centre, radius, soft=0.02), float(light))
    for plane, small in zip(canvas.pixels, coarse.pixels, strict=True):
        cv2.resize(small, (canvas.side, canvas.side), dst=plane, interpolation=cv2.INTER_LINEAR)


def light_figure(sketch: Sketch, scene: Scene) -> None:
    """Shade the figure as a lit ellipsoid, and tint the whole picture.

    Args:
        sketch: The face with its ``figure`` coverage.
        scene: Direction, strength and colour of the light.
    """
    canvas, face = sketch.canvas, sketch.face
    coarse = max(16, canvas.size // 2)
    positions = (np.arange(coarse, dtype=np.float32) + 0.5) / coarse
    across = (positions[None, :] - face.pose.centre[0]) / (face.pose.scale * 1.3)
    down = (positions[:, None] - face.pose.centre[1]) / (face.pose.scale * 1.65)
    radius = np.sqrt(across**2 + down**2)
    shrink = np.where(radius > 0.94, 0.94 / np.maximum(radius, 1e-6), 1.0)
    normal_x, normal_y = across * shrink, down * shrink
    normal_z = np.sqrt(1 - normal_x**2 - normal_y**2)
    light = np.array([scene.light_side, -scene.light_height * 0.8, 0.9])
    light = light / np.linalg.norm(light)
    lambert = np.maximum(normal_x * light[0] + normal_y * light[1] + normal_z * light[2], 0.0)
    shading = 1.0 + scene.contrast * (lambert - 0.78)
    # Light that grazes skin reddens it, so the darker side loses green and blue first.
    loss = np.maximum(1.0 - shading, 0.0)
    cv2 = load_opencv()
    for plane, warmth, tint in zip(canvas.pixels, (0.06, -0.05, -0.07), scene.tint, strict=True):
        coarse_field = (shading + warmth * loss - 1.0).astype(np.float32)
        field = cv2.resize(coarse_field, (canvas.side, canvas.side), interpolation=cv2.INTER_LINEAR)
        field *= sketch.figure
        field += np.float32(1.0)
        field *= np.float32(tint * scene.exposure)
        plane *= field


def develop(picture: np.ndarray, scene: Scene) -> np.ndarray:
    """Blur of the lens, noise of the sensor (uniform, which is quick to draw), and rounding.

    Args:
        picture: float32 of shape (S, S, 3), 0 to 255.
        scene: Strength of both.

    Returns:
        uint8 of the same shape.
    """
    sigma = scene.blur * len(picture)
    if sigma > 0.2:
        picture = load_opencv().GaussianBlur(picture, (0, 0), sigma)
    if scene.noise > 0:
        rng = stream(scene.sensor_seed, "noise")
        noise = rng.random(picture.shape, dtype=np.float32)
        noise -= np.float32(0.5)
        noise *= np.float32(scene.noise * np.sqrt(12.0))
        picture = picture + noise
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
