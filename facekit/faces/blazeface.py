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

    @property
    def size(self) -> float:
        """The longer side of the box in pixels."""
        return float((self.box[2:] - self.box[:2]).max())


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
    values = regressors.reshape(-1, 2 + NUM_KEY_POINTS, 2)[rows] / INPUT_SIDE
    points = values[:, 2:] + _CENTRES[rows, None]
    values[:, 0] += _CENTRES[rows]
    boxes = np.concatenate([values[:, 0] - values[:, 1] / 2, values[:, 0] + values[:, 1] / 2], axis=1)
    shift = np.array([left, top])
    boxes, points = boxes * side + np.tile(shift, 2), points * side + shift
    return list(map(FoundFace, boxes, points, scores[rows].tolist()))


def _square(image: Image.Image, left: float, top: float, side: float) -> Image.Image:
    """The window as the detector's input, black where it reaches out of the picture."""
    inside = (max(0.0, left), max(0.0, top), min(image.width, left + side), min(image.height, top + side))
    scale = INPUT_SIDE / side
    start = (round((inside[0] - left) * scale), round((inside[1] - top) * scale))
    size = (max(1, round((inside[2] - inside[0]) * scale)), max(1, round((inside[3] - inside[1]) * scale)))
    part = image.resize(size, Image.Resampling.BILINEAR, box=inside, reducing_gap=1.0)
    if size == (INPUT_SIDE, INPUT_SIDE):
        return part
    square = Image.new("RGB", (INPUT_SIDE, INPUT_SIDE))
    square.paste(part, start)
    return square


def suppress_overlapping(faces: list[FoundFace]) -> list[FoundFace]:
    """Merge finds of one face: the mean of those that overlap the best one, weighted by score; best first."""
    if not faces:
        return []
    ordered = sorted(faces, key=lambda face: -face.score)
    boxes = np.stack([face.box for face in ordered])
    key_points = np.stack([face.key_points for face in ordered])
    remaining = np.arange(len(ordered))
    kept = []
    while remaining.size:
        same = _overlaps(boxes[remaining[0]], boxes[remaining]) > SUPPRESSION_OVERLAP
        same[0] = True
        group, remaining = remaining[same], remaining[~same]
        scores = [ordered[index].score for index in group]
        weights = np.array(scores) / sum(scores)
        box = np.tensordot(weights, boxes[group], axes=1)
        kept.append(FoundFace(box, np.tensordot(weights, key_points[group], axes=1), scores[0]))
    return kept


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with each of ``(n, 4)``."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return shared / (areas - shared)
