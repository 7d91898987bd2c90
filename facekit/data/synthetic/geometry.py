"""Landmark geometry: the 68 landmarks at rest, their shifts by action units, and their projection.

The drawing follows the projected landmarks, so a label, a landmark and a pixel cannot disagree. The head is half an
ellipsoid with a nose; contours slide along its surface when it turns, as the visible outline of a real head does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from facekit.data.synthetic.parameters import FaceParameters, HeadShape, Pose

_EAR_HEIGHT = -0.05
_CONTOUR_BULGE = 0.6
_CROWN_ACROSS, _CROWN_UP = 0.86, 0.92

MIRRORED_ORDER = np.array(
    (
        *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
    )
)  # fmt: skip
"""Index of each landmark's counterpart on the other side of the face."""


@dataclass(frozen=True)
class HeadFrame:
    """A posed head: carries points from head units to the picture.

    Attributes:
        shape: Proportions of the head.
        pose: Its pose.
    """

    shape: HeadShape
    pose: Pose

    def surface(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Depth of the face's surface at frontal points, towards the viewer.

        Args:
            x: Horizontal coordinates in head units, any shape.
            y: Vertical coordinates, same shape.

        Returns:
            Depths of the same shape.
        """
        height = np.where(y < 0, self.shape.crown * 1.08, self.shape.chin * 1.25)
        inside = 1.0 - (x / (1.12 * self.shape.width)) ** 2 - (y / height) ** 2
        return 0.8 * np.sqrt(np.maximum(inside, 0.02))

    @cached_property
    def axes(self) -> np.ndarray:
        """Displacement in the picture of one head unit across, down and towards the viewer: (3, 2)."""
        yaw, pitch, roll = (np.deg2rad(angle) for angle in (self.pose.yaw, self.pose.pitch, self.pose.roll))
        turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0], [0, np.cos(pitch)], [0, np.sin(pitch)]])
        tilt = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        return self.pose.scale * turn @ nod @ tilt

    def project(self, x: np.ndarray, y: np.ndarray, z: np.ndarray | float) -> np.ndarray:
        """Turn points with the head and project them to the picture, without perspective.

        Args:
            x: Horizontal coordinates in head units, any shape.
            y: Vertical coordinates, downward, same shape.
            z: Depths towards the viewer, same shape or one number.

        Returns:
            Points in the picture, from 0 to 1, shape (..., 2).
        """
        points = np.empty((*x.shape, 3))
        points[..., 0], points[..., 1], points[..., 2] = x, y, z
        return points @ self.axes + self.pose.centre

    def project_surface(self, points: np.ndarray, lift: float = 0.0) -> np.ndarray:
        """Project points of the face's surface in the picture.

        Args:
            points: Frontal points in head units, shape (..., 2).
            lift: Extra depth.

        Returns:
            Points in the picture, shape (..., 2).
        """
        x, y = points[..., 0], points[..., 1]
        return self.project(x, y, self.surface(x, y) + lift)

    def project_contour(self, points: np.ndarray, depth: np.ndarray | float = 0.0) -> np.ndarray:
        """Project points of the head's outline in the picture.

        The side that turns away shows its bulging surface, the other side its true edge.

        Args:
            points: Frontal outline in head units, shape (..., 2).
            depth: Depth of the outline's edge, shape (...) or one number.

        Returns:
            Points in the picture, shape (..., 2).
        """
        x, y = points[..., 0], points[..., 1]
        yaw = np.deg2rad(self.pose.yaw)
        half = np.abs(x)
        bulge = _CONTOUR_BULGE * half
        angle = np.where(x * yaw > 0, np.arctan2(bulge * abs(np.sin(yaw)), np.maximum(half * np.cos(yaw), 1e-9)), 0.0)
        return self.project(x * np.cos(angle), y, depth + bulge * np.sin(angle))

    def length(self, units: float) -> float:
        """A length in head units as a part of the picture's side."""
        return units * self.pose.scale


def landmarks_of(parameters: FaceParameters) -> np.ndarray:
    """Project the 68 landmarks of a face.

    Args:
        parameters: The face.

    Returns:
        iBUG-68 points as x and y from 0 to 1, float64 of shape (68, 2).
    """
    frame = HeadFrame(parameters.shape, parameters.pose)
    strength = {code: intensity / 5.0 for code, intensity in parameters.action_units.items()}
    jaw = _jaw(parameters.shape, strength)
    low = np.clip((jaw[:, 1] - _EAR_HEIGHT) / (parameters.shape.chin - _EAR_HEIGHT), 0.0, 1.0)
    inner, lift = _inner_points(parameters.shape, strength)
    depth = frame.surface(inner[:, 0], inner[:, 1]) + lift
    return np.concatenate(
        (
            frame.project_contour(jaw, 0.62 * low**1.5),
            frame.project(inner[:, 0], inner[:, 1], depth),
        )
    )


def crown_outline(shape: HeadShape, grow: float = 0.0, samples: int = 17) -> np.ndarray:
    """Outline of the skull from the left ear over the top to the right ear.

    Args:
        shape: Proportions of the head.
        grow: Distance outside the skull.
        samples: Number of points.

    Returns:
        Frontal points in head units, shape (samples, 2).
    """
    across, up = _crown_profile(samples)
    x, y = across * (shape.width + grow), _EAR_HEIGHT - up * (shape.crown + _EAR_HEIGHT + grow)
    return np.stack((x, y), axis=-1)


@cache
def _crown_profile(samples: int) -> tuple[np.ndarray, np.ndarray]:
    angle = np.linspace(np.pi, 0.0, samples)
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** _CROWN_ACROSS
    return across, np.sin(angle).clip(0.0) ** _CROWN_UP


def half_width(shape: HeadShape, y: np.ndarray) -> np.ndarray:
    """Half width of the skull at a height; below the ears that of the ears.

    Args:
        shape: Proportions of the head.
        y: Heights in head units, any shape.

    Returns:
        Half widths of the same shape.
    """
    rise = np.clip((_EAR_HEIGHT - y) / (shape.crown + _EAR_HEIGHT), 0.0, 1.0) ** (1 / _CROWN_UP)
    return np.sqrt(1.0 - rise**2) ** _CROWN_ACROSS * shape.width


def _jaw(shape: HeadShape, strength: Mapping[str, float]) -> np.ndarray:
    angle = np.linspace(np.pi, 0.0, 17)
    across, down = np.cos(angle), np.sin(angle)
    power = 2.0 / shape.jaw_power
    low = down**power
    x = np.sign(across) * np.abs(across) ** power * shape.width * (1.0 - shape.taper * low**2)
    x += np.sign(across) * shape.jowl * np.exp(-(((low - 0.78) / 0.16) ** 2))
    y = _EAR_HEIGHT + low * (shape.chin - _EAR_HEIGHT)
    y += low**3 * (0.24 * strength.get("AU26", 0.0) - 0.05 * strength.get("AU17", 0.0))
    return np.stack((x, y), axis=-1)


def _inner_points(shape: HeadShape, strength: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    right_brow, right_eye = _brow(shape, strength), _eye(shape, strength)
    nose, nose_lift = _nose(shape, strength)
    mouth = _mouth(shape, strength)
    flip = np.array([-1.0, 1.0])
    points = np.concatenate(
        (right_brow * flip, right_brow[::-1], nose, right_eye * flip, right_eye[[3, 2, 1, 0, 5, 4]], mouth)
    )
    lift = np.zeros(len(points))
    lift[10:19] = nose_lift
    lift[19:31] = -0.06
    lift[31:] = 0.06
    return points, lift


def _brow(shape: HeadShape, strength: Mapping[str, float]) -> np.ndarray:
    """The brow on the right of the picture, from its outer end to its inner end: (5, 2)."""
    inner = np.linspace(0.0, 1.0, 5)
    x = shape.eye_spacing + shape.eye_width * (1.35 - 2.55 * inner)
    y = (
        shape.brow_height
        - shape.brow_arch * np.sin(np.pi * np.clip(inner * 0.9 + 0.12, 0, 1))
        + 0.05 * (1 - inner) ** 2
    )
    raise_inner, raise_outer, lower = (strength.get(code, 0.0) for code in ("AU1", "AU2", "AU4"))
    y = y - 0.17 * raise_inner * inner**1.5 - 0.16 * raise_outer * np.exp(-(((inner - 0.2) / 0.36) ** 2))
    y = y + lower * (0.05 + 0.08 * inner) + 0.03 * strength.get("AU9", 0.0) * inner
    x = x - 0.07 * lower * inner**2
    return np.stack((x, y), axis=-1)


def _eye(shape: HeadShape, strength: Mapping[str, float]) -> np.ndarray:
    """Right eye of the picture: outer corner, upper lid inwards, inner corner, lower lid outwards: (6, 2)."""
    upper = shape.eye_open * (1.15 + 0.7 * strength.get("AU5", 0.0) - 0.2 * strength.get("AU6", 0.0))
    lower = shape.eye_open * (0.8 - 0.55 * strength.get("AU6", 0.0) - 0.15 * strength.get("AU9", 0.0))
    across = np.array([1.0, 0.36, -0.36, -1.0, -0.36, 0.36])
    down = np.array([0.0, -upper, -upper * 0.96, 0.0, lower * 0.92, lower])
    down = down - shape.eye_tilt * across
    return np.stack((shape.eye_spacing + across * shape.eye_width, shape.eye_height + down), axis=-1)


def _nose(shape: HeadShape, strength: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    wrinkle = strength.get("AU9", 0.0)
    top = shape.eye_height - 0.02 + 0.02 * wrinkle
    tip = shape.nose_base - 0.1 - 0.05 * wrinkle
    bridge = np.stack((np.zeros(4), np.linspace(top, tip, 4)), axis=-1)
    across = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    wing = np.abs(across)
    base = shape.nose_base - 0.035 * wing - wrinkle * (0.03 + 0.07 * wing)
    nostrils = np.stack((across * shape.nose_width * (1 + 0.14 * wrinkle), base), axis=-1)
    lift = np.array([0.03, 0.36, 0.7, 1.0, 0.12, 0.42, 0.55, 0.42, 0.12]) * shape.nose_depth
    return np.concatenate((bridge, nostrils)), lift


def _mouth(shape: HeadShape, strength: Mapping[str, float]) -> np.ndarray:
    """Outer lips 48 to 59, then inner lips 60 to 67, all from the left of the picture: (20, 2)."""
    pull, depress, chin, stretch, part, drop = (
        strength.get(code, 0.0) for code in ("AU12", "AU15", "AU17", "AU20", "AU25", "AU26")
    )
    wide = shape.mouth_width * (1 + 0.3 * pull + 0.32 * stretch - 0.1 * drop - 0.06 * chin)
    thin = 1 - 0.2 * pull - 0.25 * stretch
    middle = shape.mouth_height - 0.05 * chin + 0.05 * drop - 0.03 * strength.get("AU9", 0.0)
    corner = shape.mouth_height + shape.mouth_curve - 0.13 * pull + 0.13 * depress + 0.03 * stretch + 0.07 * drop
    opening = min(1.0, 2.5 * part)
    rise = 0.035 * part + 0.02 * opening * drop
    fall = 0.075 * part + 0.2 * opening * drop

    def along(across: np.ndarray, height: float, power: float) -> np.ndarray:
        """Bend from the corners to a height at the middle."""
        return corner + (height - corner) * (1 - np.abs(across) ** power)

    across = np.array([-1.0, -0.64, -0.22, 0.0, 0.22, 0.64, 1.0])
    upper = along(across, middle - rise, 2.0) - shape.upper_lip * thin * np.array([0, 0.62, 1.05, 0.88, 1.05, 0.62, 0])
    across_low = np.array([0.66, 0.26, 0.0, -0.26, -0.66])
    plump = shape.lower_lip * (thin + 0.1 * chin) * np.array([0.6, 0.95, 1.0, 0.95, 0.6])
    lower = along(across_low, middle + fall, 2.4) + plump + 0.02 * depress * np.abs(across_low)
    across_in = np.array([-0.86, -0.34, 0.0, 0.34, 0.86])
    inner_upper = along(across_in, middle - rise, 2.0)
    inner_lower = along(across_in[::-1], middle + fall, 2.4)[1:4]
    x = np.concatenate((across, across_low, across_in, across_in[::-1][1:4])) * wide
    return np.stack((x, np.concatenate((upper, lower, inner_upper, inner_lower))), axis=-1)


@cache
def _spline_weights(count: int, samples: int, closed: bool) -> np.ndarray:
    """Matrix that takes (count, 2) control points to a Catmull-Rom curve: (segments * samples, count)."""
    segments = count if closed else count - 1
    weights = np.zeros((segments * samples + (not closed), count))
    for row in range(len(weights)):
        segment, step = divmod(row, samples)
        if segment == segments:
            segment, step = segments - 1, samples
        t = step / samples
        basis = (
            -0.5 * t + t**2 - 0.5 * t**3,
            1 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        )
        for offset, weight in enumerate(basis, -1):
            index = segment + offset
            weights[row, index % count if closed else min(max(index, 0), count - 1)] += weight
    return weights


def smooth_curve(points: np.ndarray, samples: int = 5, *, closed: bool = False) -> np.ndarray:
    """A smooth curve through points (Catmull-Rom spline).

    Args:
        points: Control points, shape (..., K, 2); the curve passes through every one.
        samples: Points per segment.
        closed: Whether the last point joins the first.

    Returns:
        Points on the curve, shape (..., K * samples, 2), or (..., (K - 1) * samples + 1, 2) for an open one.
    """
    return _spline_weights(points.shape[-2], samples, closed) @ points
