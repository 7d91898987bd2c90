"""MediaPipe's BlazeFace detector: boxes, scores and six key points of the faces in a picture.

The model is the full-range one of MediaPipe (192 x 192 pixels, faces up to about five metres from the camera). Anchors,
decoding and thresholds are those of ``mediapipe/modules/face_detection/face_detection_full_range.pbtxt``; overlapping
finds are averaged by their scores as MediaPipe's weighted suppression does. Source: Bazarevsky et al., "BlazeFace",
2019. What is added here is the search in tiles, for faces that are small in a large picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facekit.faces.tflite import TfliteModel

INPUT_SIDE = 192
GRID = 48
NUM_KEY_POINTS = 6
RIGHT_EYE, LEFT_EYE = 0, 1
SUPPRESSION_OVERLAP = 0.3
SMALLEST_TILE = 192
"""In pixels: a smaller tile would only be enlarged."""

_CENTRES = (np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID)), axis=-1).reshape(-1, 2) + 0.5) / GRID


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face as the detector finds it.

    Args:
        box: ``(4,)``, left, top, right, bottom in pixels of the picture.
        key_points: ``(6, 2)``, in pixels: the person's right and left eye, nose tip, mouth, right and left ear.
        score: From 0 to 1.
    """

    box: np.ndarray
    key_points: np.ndarray
    score: float


def find_faces(model: TfliteModel, image: Image.Image, threshold: float, levels: int) -> Iterator[list[FoundFace]]:
    """Search a picture whole, then in tiles of half, a quarter, ... of its longer side.

    Args:
        model: The detector.
        image: An RGB image.
        threshold: The least score.
        levels: How many sizes of tiles to search after the whole picture; tiles overlap by half.

    Yields:
        The faces of each level, best first, so that a caller stops as soon as it has what it needs.
    """
    for level in range(levels + 1):
        side = max(image.size) / 2**level
        if level and side < SMALLEST_TILE:
            return
        found = [face for window in _tiles(image.size, side) for face in _search(model, image, window, threshold)]
        yield suppress_overlapping(found)


def _tiles(size: tuple[int, int], side: float) -> Iterator[tuple[float, float, float]]:
    """Left, top and side of the squares that cover a picture, overlapping by half; a single one is centred."""
    starts = []
    for length in size:
        count = max(1, int(np.ceil((length - side) / (side / 2))) + 1) if length > side else 1
        starts.append(np.linspace(0, length - side, count) if count > 1 else np.array([(length - side) / 2]))
    for top in starts[1]:
        for left in starts[0]:
            yield float(left), float(top), side


def _search(
    model: TfliteModel, image: Image.Image, window: tuple[float, float, float], threshold: float
) -> list[FoundFace]:
    left, top, side = window
    pixels = np.asarray(_square(image, left, top, side), dtype=np.float32)[None] / 127.5 - 1.0
    regressors, logits = model.run(pixels)
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits.reshape(-1), -100.0, 100.0)))
    rows = np.flatnonzero(scores >= threshold)
    found = []
    for row in rows:
        values = regressors.reshape(-1, 4 + 2 * NUM_KEY_POINTS)[row].reshape(-1, 2) / INPUT_SIDE
        values[0] += _CENTRES[row]
        points = values[2:] + _CENTRES[row]
        box = np.concatenate([values[0] - values[1] / 2, values[0] + values[1] / 2])
        shift = np.array([left, top])
        found.append(FoundFace(box * side + np.tile(shift, 2), points * side + shift, float(scores[row])))
    return found


def _square(image: Image.Image, left: float, top: float, side: float) -> Image.Image:
    """The window as the detector's input, black where it reaches out of the picture."""
    inside = (max(0.0, left), max(0.0, top), min(image.width, left + side), min(image.height, top + side))
    scale = INPUT_SIDE / side
    start = (round((inside[0] - left) * scale), round((inside[1] - top) * scale))
    size = (max(1, round((inside[2] - inside[0]) * scale)), max(1, round((inside[3] - inside[1]) * scale)))
    part = image.resize(size, Image.Resampling.BILINEAR, box=inside, reducing_gap=2.0)
    if size == (INPUT_SIDE, INPUT_SIDE):
        return part
    square = Image.new("RGB", (INPUT_SIDE, INPUT_SIDE))
    square.paste(part, start)
    return square


def suppress_overlapping(faces: list[FoundFace]) -> list[FoundFace]:
    """Merge finds of one face: the mean of those that overlap the best one, weighted by score; best first."""
    remaining = sorted(faces, key=lambda face: -face.score)
    kept = []
    while remaining:
        best = remaining[0]
        overlaps = [_overlap(best.box, face.box) > SUPPRESSION_OVERLAP or face is best for face in remaining]
        group = [face for face, same in zip(remaining, overlaps, strict=True) if same]
        remaining = [face for face, same in zip(remaining, overlaps, strict=True) if not same]
        weights = np.array([face.score for face in group]) / sum(face.score for face in group)
        box = np.tensordot(weights, np.stack([face.box for face in group]), axes=1)
        points = np.tensordot(weights, np.stack([face.key_points for face in group]), axes=1)
        kept.append(FoundFace(box, points, best.score))
    return kept


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return float(shared / (areas - shared))
